"""`tfscale compress` with bounds: finds a file that is small, good and fast enough, or says by how
much none is.

Candidates that are not trained come first; then those that are expected to fit, the one that keeps
most of the model first, each fine-tuned for its own recipe with the run as its teacher. Every
figure is taken from the exported file. With a text that the model is for, candidates without the
tokens that it never has are tried among the others.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from tfscale.compress.compress import compress_run
from tfscale.compress.tuning import data_tokenizer_digest
from tfscale.config import ExportConfig
from tfscale.config.compression import CompressConfig, DistillConfig, PruneConfig, SearchConfig
from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest
from tfscale.errors import ConfigError, ExportError, TokenizerError
from tfscale.exporting.export import export_run
from tfscale.files.folders import atomic_directory, claim_directory
from tfscale.files.model_folders import claim_export
from tfscale.models.network import capabilities
from tfscale.models.weight_formats import stored_bytes
from tfscale.runs.folder import Run, load_run
from tfscale.workflows.search.candidates import (
    Candidate,
    Trimming,
    candidates,
    check_reachable,
    worth_trying,
)
from tfscale.workflows.search.measure import Samples, held_out_sample, measure
from tfscale.workflows.search.outcome import (
    Figures,
    State,
    choose,
    line_of,
    meets,
    pareto,
    shortfalls,
    write_report,
)
from tfscale.workflows.search.state import STATE, begin_state, save_state
from tfscale.workflows.search.target import (
    Target,
    read_target,
    run_folder,
    trimmed_data,
    trimmed_run,
)


@checks_arguments
def search_run(
    run: Run | str,
    config: CompressConfig,
    bounds: SearchConfig,
    note: Callable[[str], None] = lambda text: None,
) -> State:
    """Tries what makes a run smaller until its file meets the bounds; goes on where it stopped.

    Args:
        run: a trained run or its folder; it is left as it is.
        config: `output` is the folder to write, `steps` the fine-tuning steps of all candidates
            together.
        bounds: at least one. Perplexities are per token of the run's own tokenizer, those of files
            with a smaller vocabulary too, on the beginning of the data's validation split; see
            `tfscale.workflows.search.measure.Sample`.
        note: is called with a line for each stage.

    Returns:
        The content of search.json: `met`, `shortfalls` (bound -> by how much the best misses it),
            `best` (a name),
        `baseline` and `candidates` (name -> figures), `pareto` (names), `steps` that were spent,
        `export` and `run`, the folders of the best one. If a signal stopped it: `interrupted`
        instead of what comes at the end.

    Raises:
        ConfigError: no bound, bounds that contradict each other or what any candidate can be, or
            other ones than the earlier state of the folder was begun with.
        TokenizerError: the data was tokenized by another tokenizer than the run's, or there is a
            target text and no tokens can be removed from this kind of tokenizer.
        DataError: the target text is missing, empty or not UTF-8, or the data has no validation
            split.

    Example:
        search_run("run", CompressConfig(output="small", steps=2000),
                   SearchConfig(target_size="4MB", max_perplexity_increase="2%"))
    """
    if not bounds.asked:
        raise ConfigError(
            "give a bound: target_size, max_perplexity_increase or target_tokens_per_second"
        )
    run = load_run(run) if isinstance(run, str) else run
    data = _data_of(run, config)
    share = bounds.candidate_steps or max(1, config.steps // 4)
    if share > config.steps:
        raise ConfigError(
            f"candidate_steps={share} is more than steps={config.steps}, which all candidates share"
        )
    manifest = Manifest.load(data, verify="size")
    manifest.split("validation")
    target = None
    if bounds.target_text:
        documents = manifest.how.get("documents", "file")
        target = read_target(bounds.target_text, documents, run.tokenizer, bounds.evaluation_tokens)
    own = Samples(held_out_sample(run, data, bounds), target.sample if target else None)
    trimming, anew = None, own
    if target and target.tokenizer:
        trimming, anew = target.trimming(run.tokenizer, own)
        note(
            f"the target text has {trimming.vocabulary_size:,} of {run.tokenizer.vocabulary_size:,}"
            " tokens"
        )
    elif target:
        note(
            "every token of the vocabulary occurs in the target text: there are no candidates"
            " without any"
        )
    check_reachable(bounds, candidates(run.model_config, 0, bounds.gzip, trimming=trimming))
    claim_directory(config.output, STATE, "the folder of a search")
    state = begin_state(run, config, bounds, data, target)
    save_state(config.output, state)
    search = _Search(run, config, bounds, data, share, target, trimming, own, anew, state, note)
    interrupted = search.try_all()
    if interrupted:
        return state | interrupted
    return _finish(run, config, bounds, state)


def _data_of(run: Run, config: CompressConfig) -> str:
    """Returns the data to fine-tune on, of a run that can be searched for."""
    if capabilities(run.network).decodes == "none":
        raise ConfigError(
            f"a search is for models of the next token, and {run.directory} holds a"
            f" {run.network.name}"
        )
    data = config.data or run.data_dir
    if data is None:
        raise ConfigError(
            f"the data that {run.directory} was trained on is gone; give data to fine-tune on"
        )
    if data_tokenizer_digest(data) != run.tokenizer.digest:
        raise TokenizerError(
            f"{data} was tokenized by another tokenizer than that of {run.directory}"
        )
    return data


@dataclass(frozen=True)
class _Search:
    """A search that has begun.

    Attributes:
        share: fine-tuning steps of a candidate.
        trimming: the smaller vocabulary of the target text, if there is one.
        own: the texts in the tokens of the run.
        anew: the texts in the tokens of the smaller vocabulary.
        state: the content of search.json, which is changed and saved after each candidate.
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


def _finish(run: Run, config: CompressConfig, bounds: SearchConfig, state: State) -> State:
    tried = {
        name: figures for name, figures in state["candidates"].items() if "failed" not in figures
    }
    if not tried:
        raise ExportError(
            f"every candidate failed its parity check; {config.output}/{STATE} says how"
        )
    best = choose(tried, bounds, state["baseline"])
    folder = os.path.join(config.output, "candidates", best)
    export = os.path.join(config.output, "export")
    claim_export(export)
    with atomic_directory(export) as temporary:
        shutil.copytree(os.path.join(folder, "export"), temporary, dirs_exist_ok=True)
    trained = os.path.join(folder, "run")
    source = (
        run_folder(config.output) if "vocabulary_size" in tried[best]["sizes"] else run.directory
    )
    missing = shortfalls(tried[best], bounds, state["baseline"])
    result = state | {
        "met": not missing,
        "shortfalls": missing,
        "best": best,
        "pareto": pareto(tried, bounds),
        "export": export,
        "run": trained if os.path.isdir(trained) else source,
    }
    save_state(config.output, result)
    write_report(os.path.join(config.output, "report.html"), result, bounds)
    return result
