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
from typing import Any

from tfscale.compress.compress import compress_run
from tfscale.compress.tuning import data_tokenizer_digest
from tfscale.config import ExportConfig, to_dict
from tfscale.config.compression import CompressConfig, DistillConfig, PruneConfig, SearchConfig
from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest
from tfscale.data.retokenize import whole_characters
from tfscale.data.tokens import split_stream
from tfscale.errors import ConfigError, ExportError, TokenizerError
from tfscale.exporting.export import export_run
from tfscale.files.folders import atomic_directory, claim_directory
from tfscale.files.model_folders import claim_export
from tfscale.files.paths import read_json, write_json
from tfscale.models.network import capabilities
from tfscale.models.weight_formats import stored_bytes
from tfscale.runs.folder import Run, load_run
from tfscale.workflows.search.candidates import Candidate, candidates
from tfscale.workflows.search.measure import Sample, Samples, measure
from tfscale.workflows.search.outcome import choose, meets, pareto, shortfalls, write_report
from tfscale.workflows.search.target import (
    Target,
    read_target,
    run_folder,
    trimmed_data,
    trimmed_run,
)

STATE = "search.json"
FORMAT_VERSION = 1


@checks_arguments
def search_run(
    run: Run | str,
    config: CompressConfig,
    bounds: SearchConfig,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
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
        `export` and `run`, the folders of the best one. If a signal stopped it: `interrupted` in
            the place of what comes at the end.

    Raises:
        ConfigError: no bound, bounds that contradict each other or what any candidate can be, or
            other ones than the earlier state of the folder was begun with.
        TokenizerError: the data was tokenized by another tokenizer than the run's, or there is a
            target text and no tokens can leave this kind of tokenizer.
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
    own = Samples(_held_out(run, data, bounds), target.sample if target else None)
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
    _check_reachable(bounds, candidates(run.model_config, 0, bounds.gzip, trimming=trimming))
    claim_directory(config.output, STATE, "the folder of a search")
    state = _begin(run, config, bounds, data, target)
    _save(config.output, state)

    def try_out(name: str, source: Run, candidate: Candidate | None) -> dict[str, Any]:
        folder = os.path.join(config.output, "candidates", name, "export")
        quantize = candidate.quantize if candidate else "none"
        samples = anew if candidate and candidate.vocabulary_size else own
        tokens = samples.held_out.tokens[:512]
        report = export_run(source, ExportConfig(output=folder, quantize=quantize), held_out=tokens)
        return measure(folder, samples, report)

    if "baseline" not in state:
        note("the run in float32")
        state["baseline"] = try_out("float32", run, None)
        _save(config.output, state)
    overhead = max(0, state["baseline"]["bytes"] - stored_bytes(run.network, "none"))
    # The scales of int8 rows, which a float file has not, are 12 bytes each.
    todo = candidates(run.model_config, overhead + 20_000, bounds.gzip, 12, trimming)
    if share < 2:
        # Zeros are chosen twice.
        todo = [candidate for candidate in todo if not candidate.sparsity]
    # What needs no training takes seconds, and belongs into the table. Where nothing will fit, the
    # smallest shows by how much.
    fitting = [candidate for candidate in todo if _worth_trying(candidate, bounds)]
    untrained = [candidate for candidate in todo if not candidate.tuned]
    smallest = min(todo, key=lambda candidate: candidate.bytes)
    todo = [*untrained, *([c for c in fitting if c.tuned] or ([] if fitting else [smallest]))]
    found, failures = False, 0
    for candidate in todo:
        if candidate.name in state["candidates"]:
            figures = state["candidates"][candidate.name]
        elif candidate.tuned and state["steps"] + share > config.steps:
            continue
        else:
            note(f"{candidate.name}, expected {candidate.bytes / 1e6:.2f} MB")
            source, text = run, data
            if target and candidate.vocabulary_size:
                source = trimmed_run(run, target, config.output)
                text = trimmed_data(data, target, config.output) if candidate.tuned else data
            figures = _figures(
                source, config, bounds, text, candidate, share, try_out, state["baseline"]
            )
            if "interrupted" in figures:
                return state | figures
            state["candidates"][candidate.name] = figures
            state["steps"] += share if candidate.tuned else 0
            _save(config.output, state)
            note(_line(figures, state["baseline"]))
        good = meets(figures, bounds, state["baseline"])
        # Where nothing bounds the loss, that of a smaller vocabulary which nothing was trained on
        # may be any.
        found = (
            found
            or good
            and not (candidate.vocabulary_size and not candidate.tuned and bounds.increase is None)
        )
        failures = failures + 1 if candidate.tuned and not good else 0
        # With a size to reach, the first that is good enough is the one that keeps most. Without
        # one, smaller ones are tried until two in a row are too bad.
        enough = found if bounds.size_bytes is not None else failures == 2
        if enough and candidate not in untrained[:-1]:
            break
    return _finish(run, config, bounds, state)


def _held_out(run: Run, data: str, bounds: SearchConfig) -> Sample:
    """The text that decides: the first tokens of the validation split."""
    tokens = split_stream(data, "validation")[: bounds.evaluation_tokens].tolist()
    if not run.tokenizer.lossless:
        # Of a part of a split, the bytes of a tokenizer that loses text are not known.
        return Sample(tokens, 0, len(tokens))
    if bounds.target_text:
        tokens = whole_characters(tokens, run.tokenizer)
    return Sample(tokens, len(run.tokenizer.decode(tokens).encode()), len(tokens))


def _figures(
    run: Run,
    config: CompressConfig,
    bounds: SearchConfig,
    data: str,
    candidate: Candidate,
    steps: int,
    try_out: Callable[[str, Run, Candidate | None], dict[str, Any]],
    baseline: dict[str, Any],
) -> dict[str, Any]:
    """Makes and measures a candidate.

    One whose file the gate refuses has `failed` in the place of figures; one whose training a
    signal stopped has only `interrupted`, by what, and `stopped_at`, its name and step.
    """
    source = run
    if candidate.tuned:
        folder = os.path.join(config.output, "candidates", candidate.name, "run")
        summary = compress_run(
            run,
            CompressConfig(
                output=folder,
                data=data,
                steps=steps,
                learning_rate=config.learning_rate,
                quantize=candidate.quantize,
                strategy=config.strategy,
            ),
            (
                PruneConfig(sparsity=candidate.sparsity, frequency=max(1, min(20, steps // 20)))
                if candidate.sparsity
                else None
            ),
            candidate.shrink if candidate.shrink.shrinks else None,
            DistillConfig(weight=bounds.distill_weight),
        )
        if not summary["completed"]:
            return {
                "interrupted": summary["interrupted"],
                "stopped_at": [candidate.name, summary["steps"]],
            }
        source = load_run(folder)
    try:
        figures = try_out(candidate.name, source, candidate)
    except ExportError as error:
        return candidate.describe() | {"failed": str(error)}
    found = candidate.describe() | figures
    for prefix in ("", "target_") if "target_perplexity" in figures else ("",):
        found[f"{prefix}increase"] = (
            figures[f"{prefix}perplexity"] / baseline[f"{prefix}perplexity"] - 1
        )
    return found


def _worth_trying(candidate: Candidate, bounds: SearchConfig) -> bool:
    # The estimate of a compressed size is rough; that of a file is within a per cent.
    slack = 1.1 if bounds.gzip else 1.01
    return bounds.size_bytes is None or candidate.bytes <= bounds.size_bytes * slack


def _check_reachable(bounds: SearchConfig, todo: list[Candidate]) -> None:
    smallest = min(candidate.bytes for candidate in todo)
    if bounds.size_bytes is not None and not any(
        _worth_trying(candidate, bounds) for candidate in todo
    ):
        raise ConfigError(
            f"target_size={bounds.target_size} is out of reach: the smallest file that compress can"
            f" make of this model has about {smallest:,} bytes; begin with a smaller model"
        )


def _begin(
    run: Run, config: CompressConfig, bounds: SearchConfig, data: str, target: Target | None
) -> dict[str, Any]:
    """The earlier state of the folder, or a new one."""
    asked = to_dict(bounds)
    del asked["target_text"]  # Where the text lies may change, and what it says may not.
    now = {
        "run": run.weights_digest,
        "bounds": asked,
        "target_text": target and target.digest,
        "steps": config.steps,
        "learning_rate": config.learning_rate,
        "data": os.path.abspath(data) if "://" not in data else data,
    }
    path = os.path.join(config.output, STATE)
    if not os.path.exists(path):
        os.makedirs(config.output, exist_ok=True)
        return {"format_version": FORMAT_VERSION, "asked": now, "steps": 0, "candidates": {}}
    state = read_json(path, "the state of a search")
    for name, value in now.items():
        # A search that was begun before there were target texts names none.
        if (before := state["asked"].get(name)) != value:
            raise ConfigError(
                f"the search in {config.output} was begun with {name}={before!r}, now it is"
                f" {value!r}; give the same to go on, or another --output"
            )
    return state


def _save(output: str, state: dict[str, Any]) -> None:
    write_json(os.path.join(output, STATE), state)


def _line(figures: dict[str, Any], baseline: dict[str, Any]) -> str:
    if "failed" in figures:
        return figures["failed"]
    target = (
        f"{100 * figures['target_increase']:+.2f} % on the target text, "
        if "target_increase" in figures
        else ""
    )
    return (
        f"  {figures['bytes']:,} bytes ({figures['bytes'] / baseline['bytes']:.3f} of float32), "
        f"perplexity {figures['perplexity']:.4g} ({100 * figures['increase']:+.2f} %), {target}"
        f"{figures['tokens_per_second']:,.0f} tokens/s"
    )


def _finish(
    run: Run, config: CompressConfig, bounds: SearchConfig, state: dict[str, Any]
) -> dict[str, Any]:
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
    _save(config.output, result)
    write_report(os.path.join(config.output, "report.html"), result, bounds)
    return result
