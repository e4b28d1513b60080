"""Makes and measures the candidates of a search, one after the other, until one is good enough."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from tfscale.compress.compress import compress_run
from tfscale.config import ExportConfig
from tfscale.config.compression import CompressConfig, DistillConfig, PruneConfig, SearchConfig
from tfscale.errors import ExportError
from tfscale.exporting.export import export_run
from tfscale.models.weight_formats import stored_bytes
from tfscale.runs.folder import Run, load_run
from tfscale.workflows.search.candidates import Candidate, Trimming, candidates, worth_trying
from tfscale.workflows.search.measure import Samples, measure
from tfscale.workflows.search.outcome import Figures, State, line_of, meets
from tfscale.workflows.search.state import save_state
from tfscale.workflows.search.target import Target, trimmed_data, trimmed_run


@dataclass(frozen=True)
class Trials:
    """The candidates of a search that has begun.

    Attributes:
        run: what is made smaller.
        config: of the search; `steps` are those of all candidates together.
        bounds: what a file is to meet.
        data: the folder to fine-tune on.
        share: fine-tuning steps of a candidate.
        target: the text that the model is for, if there is one.
        trimming: the smaller vocabulary of the target text, if there is one.
        own: the texts in the tokens of the run.
        anew: the texts in the tokens of the smaller vocabulary.
        state: the content of search.json, which is changed and saved after each candidate.
        note: is called with a line for each stage.
    """

    run: Run
    config: CompressConfig
    bounds: SearchConfig
    data: str
    share: int
    target: Target | None
    trimming: Trimming | None
    own: Samples
    anew: Samples
    state: State
    note: Callable[[str], None]

    def try_all(self) -> Figures | None:
        """Tries candidates until one is good enough; returns `interrupted` and `stopped_at` if a
        signal stopped the training of one."""
        state, bounds = self.state, self.bounds
        if "baseline" not in state:
            self.note("the run in float32")
            state["baseline"] = self._measured("float32", self.run, None)
            save_state(self.config.output, state)
        todo = self._todo()
        untrained = [candidate for candidate in todo if not candidate.tuned]
        reached, failures = False, 0
        for candidate in todo:
            figures = state["candidates"].get(candidate.name)
            if figures is None:
                if candidate.tuned and state["steps"] + self.share > self.config.steps:
                    continue
                figures = self._try_new(candidate)
                if "interrupted" in figures:
                    return figures
            good = meets(figures, bounds, state["baseline"])
            # Where nothing bounds the loss, that of a smaller vocabulary which nothing was trained
            # on may be any.
            unbounded = (
                candidate.vocabulary_size and not candidate.tuned and bounds.increase is None
            )
            reached = reached or (good and not unbounded)
            failures = failures + 1 if candidate.tuned and not good else 0
            # With a size to reach, the first that is good enough is the one that keeps most.
            # Without one, smaller ones are tried until two in a row are too bad.
            enough = reached if bounds.size_bytes is not None else failures == 2
            if enough and candidate not in untrained[:-1]:
                break
        return None

    def _todo(self) -> list[Candidate]:
        """Returns the candidates in the order in which they are tried."""
        float32_bytes = stored_bytes(self.run.network, "none")
        overhead = max(0, self.state["baseline"]["bytes"] - float32_bytes)
        # The scales of int8 rows, which a float file has not, are 12 bytes each.
        todo = candidates(
            self.run.model_config, overhead + 20_000, self.bounds.gzip, 12, self.trimming
        )
        if self.share < 2:
            # Zeros are chosen twice.
            todo = [candidate for candidate in todo if not candidate.sparsity]
        # What needs no training takes seconds, and belongs into the table. Where nothing will fit,
        # the smallest shows by how much.
        fitting = [candidate for candidate in todo if worth_trying(candidate, self.bounds)]
        untrained = [candidate for candidate in todo if not candidate.tuned]
        smallest = min(todo, key=lambda candidate: candidate.bytes)
        trained = [candidate for candidate in fitting if candidate.tuned]
        return [*untrained, *(trained or ([] if fitting else [smallest]))]

    def _try_new(self, candidate: Candidate) -> Figures:
        """Makes and measures a candidate that the folder does not have, and keeps its figures."""
        self.note(f"{candidate.name}, expected {candidate.bytes / 1e6:.2f} MB")
        figures = self._figures(candidate)
        if "interrupted" in figures:
            return figures
        self.state["candidates"][candidate.name] = figures
        self.state["steps"] += self.share if candidate.tuned else 0
        save_state(self.config.output, self.state)
        self.note(line_of(figures, self.state["baseline"]))
        return figures

    def _figures(self, candidate: Candidate) -> Figures:
        """Makes and measures a candidate.

        One whose file the gate refuses has `failed` instead of figures; one whose training a signal
        stopped has only `interrupted`, by what, and `stopped_at`, its name and step.
        """
        source, data, output = self.run, self.data, self.config.output
        if self.target and candidate.vocabulary_size:
            source = trimmed_run(self.run, self.target, output)
            data = trimmed_data(data, self.target, output) if candidate.tuned else data
        if candidate.tuned:
            folder = os.path.join(output, "candidates", candidate.name, "run")
            summary = self._fine_tuned(source, data, candidate, folder)
            if not summary["completed"]:
                return {
                    "interrupted": summary["interrupted"],
                    "stopped_at": [candidate.name, summary["steps"]],
                }
            source = load_run(folder)
        try:
            measured = self._measured(candidate.name, source, candidate)
        except ExportError as error:
            return candidate.describe() | {"failed": str(error)}
        figures = candidate.describe() | measured
        for prefix in ("", "target_") if "target_perplexity" in measured else ("",):
            name = f"{prefix}perplexity"
            figures[f"{prefix}increase"] = measured[name] / self.state["baseline"][name] - 1
        return figures

    def _fine_tuned(self, source: Run, data: str, candidate: Candidate, folder: str) -> Figures:
        """Trains a candidate with the run as its teacher; returns the summary of its run."""
        steps, prune = self.share, None
        if candidate.sparsity:
            frequency = max(1, min(20, steps // 20))
            prune = PruneConfig(sparsity=candidate.sparsity, frequency=frequency)
        return compress_run(
            source,
            CompressConfig(
                output=folder,
                data=data,
                steps=steps,
                learning_rate=self.config.learning_rate,
                quantize=candidate.quantize,
                strategy=self.config.strategy,
            ),
            prune,
            candidate.shrink if candidate.shrink.shrinks else None,
            DistillConfig(weight=self.bounds.distill_weight),
        )

    def _measured(self, name: str, source: Run, candidate: Candidate | None) -> Figures:
        """Exports a run as the candidate says, in float32 without one, and measures the file."""
        folder = os.path.join(self.config.output, "candidates", name, "export")
        quantize = candidate.quantize if candidate else "none"
        samples = self.anew if candidate and candidate.vocabulary_size else self.own
        tokens = samples.held_out.tokens[:512]
        report = export_run(source, ExportConfig(output=folder, quantize=quantize), held_out=tokens)
        return measure(folder, samples, report)
