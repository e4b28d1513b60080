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

from tfscale.compress.tuning import data_tokenizer_digest
from tfscale.config.compression import CompressConfig, SearchConfig
from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest
from tfscale.errors import ConfigError, ExportError, TokenizerError
from tfscale.files.folders import atomic_directory, claim_directory
from tfscale.files.model_folders import claim_export
from tfscale.models.capability import capabilities
from tfscale.runs.folder import Run, load_run
from tfscale.workflows.search.candidates import (
    candidates,
    check_reachable,
)
from tfscale.workflows.search.measure import Samples, held_out_sample
from tfscale.workflows.search.outcome import (
    State,
    choose,
    pareto,
    shortfalls,
    write_report,
)
from tfscale.workflows.search.state import STATE, begin_state, save_state
from tfscale.workflows.search.target import (
    read_target,
    run_folder,
)
from tfscale.workflows.search.trials import Trials


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
    trials = Trials(run, config, bounds, data, share, target, trimming, own, anew, state, note)
    interrupted = trials.try_all()
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
