"""The commands as Python functions: `tfscale.prepare`, `.evaluate`, `.generate`, `.fill`,
`.correct`, `.explain`, `.swap`.

They take the options of the command line as keyword arguments and raise `TfscaleError` where it
prints `error: ...`. `tfscale.train` is in `tfscale.runs`.
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tfscale.compat.quiet import start_quietly
from tfscale.config import EDIT_COST, ExportConfig, PrepareConfig, SamplingConfig, make_config
from tfscale.config.options import checks_arguments
from tfscale.config.tasks import ExplainConfig, SwapConfig
from tfscale.data.manifest import Manifest
from tfscale.errors import CheckpointError, ConfigError
from tfscale.files.folders import claim_page
from tfscale.files.model_folders import is_exported, run_data
from tfscale.inference.generation import Generation
from tfscale.terminal import note

if TYPE_CHECKING:
    from tfscale.exporting.format import Report
    from tfscale.inference.cloze import Correction, Filling


@checks_arguments
def prepare(*, progress: bool = True, **options: Any) -> Manifest:
    """Text to a tokenizer, token shards and a manifest.

    Args:
        progress: show progress on stderr.
        **options: the fields of `PrepareConfig`.

    Example:
        tfscale.prepare(text=["books/*.txt"], vocabulary_size=4096, output="data")
    """
    start_quietly()
    from tfscale.data import prepare as prepare_module

    return prepare_module.prepare(make_config(PrepareConfig, options), progress=progress)


@checks_arguments
def evaluate(
    target: str,
    *,
    text: Sequence[str] = (),
    data: str | None = None,
    split: str = "validation",
    threads: int = 1,
    slice_by: str = "",
    text_field: str = "text",
    output: str = "",
) -> dict[str, Any]:
    """Perplexity and bits per byte of a run or an exported file.

    Args:
        target: RUN_DIR, FILE.tflite or an export folder.
        text: files to score, each one document; a string is one of them.
        data: data folder to score a split of; a run's own if left out.
        split: the split's name.
        threads: CPU threads; no effect on a run.
        slice_by: a field of the examples that `text` names (JSONL, CSV or TSV): a score for each of
            its values.
        text_field: with it, the field that holds the text.
        output: with it, an HTML file to write, with a table and a picture of the intervals.

    Returns:
        nll_per_token (nats), perplexity, bits_per_byte, tokens, bytes; of a task its metrics on the
        labelled examples that `text` names; with `slice_by` what
        `tfscale.analysis.slicing.evaluate_slices` returns.
    """
    if text and data:
        raise ConfigError("give either text or data, not both")
    if slice_by and not text:
        raise ConfigError(
            f"slice_by={slice_by!r} needs files of examples with that field: text, JSONL, CSV"
            " or TSV"
        )
    if output and not slice_by:
        raise ConfigError(
            f"output={output!r} is a page of groups; name the field that they are the values of:"
            " slice_by"
        )
    if output:
        claim_page(output)
    kind, opened = open_target(target, threads)
    if slice_by:
        from tfscale.analysis.slicing import evaluate_slices

        result = evaluate_slices(kind, opened, text, slice_by, text_field)
        if output:
            from tfscale.ui.intervals import write_slices

            write_slices(output, result)
        return result
    if kind == "task":
        if not text or data:
            raise ConfigError(
                f"{target} is a task: give files of labelled examples to score, --text FILE.jsonl"
            )
        return opened.score(opened.read(text))
    from tfscale.evaluation.evaluate import evaluate_file, evaluate_run

    if kind == "bundle":
        raise ConfigError(
            f"{target} is a bundle, which LiteRT-LM does not score; give the .tflite file or"
            " the run"
        )
    if kind == "file" and not text and not data:
        # Of an n-gram model the run folder and the export folder are opened alike.
        data = run_data(target)
    score = evaluate_run if kind == "run" else evaluate_file
    return score(opened, data_dir=data, split=split, text_files=text or None)


@checks_arguments
def generate(
    target: str,
    *,
    prompt: str = "",
    max_tokens: int = 64,
    stop: Sequence[str] = (),
    threads: int = 1,
    on_text: Callable[[str], None] | None = None,
    parse_special: bool = False,
    **sampling: Any,
) -> Generation:
    """Completes a prompt with a run or an exported file.

    Args:
        target: RUN_DIR, FILE.tflite or an export folder.
        prompt: text to complete; empty begins a document.
        max_tokens: most tokens to draw.
        stop: texts that end the completion; a string is one of them.
        threads: CPU threads; no effect on a run.
        on_text: receives the text piece by piece as it comes.
        parse_special: whether the texts of the tokenizer's special tokens in the prompt, such as
            `<|eot_id|>`, are read as those tokens; they are plain text otherwise.
        **sampling: the fields of `SamplingConfig`; greedy without any.

    Example:
        tfscale.generate("export", prompt="def ", max_tokens=50, temperature=0.8, top_p=0.95).text
    """
    config = make_config(SamplingConfig, sampling)
    kind, opened = open_target(target, threads)
    from tfscale.inference.generation import generate as complete

    if kind == "bundle":
        return opened.generate(prompt, max_tokens, config, stop, on_text, parse_special)
    if kind == "task":
        raise ConfigError(
            f"{target} is a model of the task {opened.task.name}; tfscale predict asks it"
        )
    if kind == "file" and not hasattr(opened, "decoder"):
        raise ConfigError(
            f"{target} scores texts and does not write them; give a file of a model of the next"
            " token"
        )
    decoder = opened.decoder() if kind == "file" else _keras_decoder(opened.network)
    return complete(
        decoder, opened.tokenizer, prompt, max_tokens, config, stop, on_text, parse_special
    )


@checks_arguments
def fill(target: str, *, text: str, count: int = 5, threads: int = 1) -> "list[Filling]":
    """The most likely tokens for the gap `___` in a text; see `tfscale.inference.cloze.fill`.

    Args:
        target: RUN_DIR of the family bilstm or bert, or the exported file or folder of a bilstm.
        text: holds `___` once.
        count: how many to give.
        threads: CPU threads; no effect on a run.

    Example:
        tfscale.fill("run", text="the cat___ on the mat")[0].text
    """
    from tfscale.inference import cloze

    return cloze.fill(*_cloze(target, threads, text), count)


@checks_arguments
def correct(
    target: str, *, text: str, edit_cost: float = EDIT_COST, threads: int = 1
) -> "list[Correction]":
    """Words of a text that are probably misspelt; see `tfscale.inference.cloze.correct`.

    Args:
        target: RUN_DIR of the family bilstm or bert, or the exported file or folder of a bilstm.
        text: a sentence or two.
        edit_cost: nats by which the text must become more likely.
        threads: CPU threads; no effect on a run.
    """
    from tfscale.inference import cloze

    return cloze.correct(*_cloze(target, threads, text), edit_cost)


def _cloze(target: str, threads: int, text: str) -> tuple[Any, Any, str, int]:
    """Logits, tokenizer, the text, and the length that a cloze model reads."""
    kind, opened = open_target(target, threads)
    if kind == "run":
        from tfscale.models.network import capabilities

        network = opened.network
        if capabilities(network).is_cloze:
            masked = capabilities(network).predicts == "masked"
            read = opened.tokenizer.as_inputs if not masked else (lambda ids: ids)
            length = network.config.sequence_length
            return lambda ids: network.cloze_logits(read(ids)), opened.tokenizer, text, length
    elif kind == "file" and opened.metadata.get("cloze"):
        return opened.logits, opened.tokenizer, text, opened.sequence_length
    raise ConfigError(
        f"{target} does not read both sides of a gap; give a run of --model.family bilstm or bert"
    )


@checks_arguments
def predict(
    target: str,
    *,
    text: str = "",
    question: str = "",
    file: str = "",
    beams: int = 1,
    threads: int = 1,
) -> list[dict[str, Any]]:
    """Labels, tags, answers or texts by a fine-tuned task or its exported file.

    Args:
        target: a folder of `tfscale finetune`, or an exported file or its folder.
        text: one text to predict for.
        question: the question to it, for the task answer.
        file: examples in the place of a text, as for `finetune`; their labels are not needed.
        beams: hypotheses of a beam search, for translate and summarize; 1 takes the likeliest token
            each time.
        threads: CPU threads; no effect on a folder of `finetune`.

    Returns:
        A prediction for each example, as the class of the task in `tfscale.tasks.kinds` says.
    """
    _, opened = open_target(target, threads)
    if not hasattr(opened, "predict_text"):
        raise ConfigError(
            f"{target} is a language model; predict needs what tfscale finetune wrote, or its"
            " export"
        )
    if file:
        return opened.predict(opened.read([file], labelled=False), beams)
    return [opened.predict_text(text, question, beams)]


@checks_arguments
def explain(target: str, **options: Any) -> dict[str, Any]:
    """Why a classifier gives a label to a text, or a language model its last token.

    Args:
        target: a folder of `tfscale finetune` for classify, a run folder, or for LIME a
            classifier's export.
        **options: the fields of `ExplainConfig`.

    Returns:
        What `tfscale.analysis.explaining.explain` returns; `output`, if it is given, is the same as
        a page.

    Example:
        tfscale.explain("task", text="a fine film")["parts"]
    """
    config = make_config(ExplainConfig, options)
    kind, opened = open_target(target)
    from tfscale.analysis import explaining

    result = explaining.explain(kind, opened, config)
    if config.output:
        from tfscale.ui.explanation import write_explanation

        write_explanation(config.output, result)
    return result


@checks_arguments
def swap(target: str, **options: Any) -> dict[str, Any]:
    """How much likelier texts become by one word in the place of another; see
    `tfscale.analysis.swapping.swap`.

    Args:
        target: a run folder, or an exported file or its folder.
        **options: the fields of `SwapConfig`.

    Returns:
        What `tfscale.analysis.swapping.swap` returns; `output`, if it is given, is the same as a
        page.

    Example:
        tfscale.swap("run", text=["texts.txt"], pairs="pairs.tsv")["pairs"][0]["mean"]
    """
    config = make_config(SwapConfig, options)
    from tfscale.analysis import swapping

    kind, opened = open_target(target, config.threads)
    result = swapping.swap(kind, opened, config)
    if config.output:
        from tfscale.ui.intervals import write_swaps

        write_swaps(config.output, result)
    return result


@checks_arguments
def export(
    run_dir: str | os.PathLike,
    *,
    output: str | os.PathLike,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> "Report":
    """Writes a run or a task as a file for the device and returns its parity report.

    Args:
        run_dir: folder that `train`, `train_ngram` or `finetune` wrote.
        output: export folder to write.
        progress: receives the name of each stage.
        **options: the other fields of `ExportConfig`, such as quantize="int8".

    Raises:
        ExportError: the file fails its parity check; nothing is written.
    """
    from tfscale.exporting.targets import export_folder

    return export_folder(
        run_dir, make_config(ExportConfig, {"output": os.fspath(output), **options}), progress
    )


@checks_arguments
def open_target(
    path: str, threads: int = 1
) -> tuple[Literal["run", "file", "bundle", "task"], Any]:
    """Opens a run folder as a `Run`, an exported file or its folder as a `DeviceModel`, a bundle as
    a `BundleModel`.

    A folder of `finetune` is opened as a `TaskModel`, its export as a `DeviceTask`.

    Raises:
        CheckpointError: the path is neither.
    """
    if is_exported(path):
        from tfscale.device import load

        model = load(path, threads=threads)
        if hasattr(model, "predict_text"):
            return "task", model
        return ("bundle" if getattr(model, "is_bundle", False) else "file"), model
    if "://" not in path and not os.path.exists(path):
        raise CheckpointError(f"{path} does not exist; give a run folder or a .tflite file")
    start_quietly()
    if os.path.isfile(os.path.join(path, "task.json")):
        from tfscale.tasks.model import load_task

        return "task", load_task(path)
    from tfscale.runs.folder import load_run

    run = load_run(path)
    if run.summary.get("completed") is False:
        steps, wanted = run.summary["steps"], run.train_config.steps
        note(
            f"{path} was stopped at step {steps:,} of {wanted:,}: these are its last weights; "
            "the same train command goes on"
        )
    return "run", run


def _keras_decoder(network: Any) -> Any:
    from tfscale.inference.keras_decoder import KerasDecoder

    return KerasDecoder(network)
