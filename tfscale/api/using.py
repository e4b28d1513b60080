"""`tfscale.generate`, `fill`, `predict`, ...: functions that ask a model.

A model is a path, or what `tfscale.open` returned.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfscale.artifacts import Artifact, opened
from tfscale.config import EDIT_COST, SamplingConfig
from tfscale.config.options import checks_arguments, config_of
from tfscale.config.tasks import ExplainConfig, SwapConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.inference.generation import Generation

if TYPE_CHECKING:
    from tfscale.inference.cloze import Correction, Filling
    from tfscale.tasks.values import Prediction


@checks_arguments
def generate(
    target: str | Artifact,
    *,
    prompt: str = "",
    max_tokens: int = 64,
    stop: Sequence[str] = (),
    threads: int = 1,
    on_text: Callable[[str], None] | None = None,
    parse_special: bool = False,
    sampling: SamplingConfig | None = None,
    **options: object,
) -> Generation:
    """Completes a prompt with a run, an exported file or a bundle.

    Args:
        target: a run folder, FILE.tflite, an export folder, or what `tfscale.open` returned.
        prompt: text to complete; empty begins a document.
        max_tokens: most tokens to draw.
        stop: texts that end the completion; a string is one of them.
        threads: CPU threads; no effect on a run.
        on_text: receives the text piece by piece as it comes.
        parse_special: whether the texts of the tokenizer's special tokens in the prompt, such as
            `<|eot_id|>`, are read as those tokens; they are plain text otherwise.
        sampling: how tokens are drawn; greedy if left out.
        **options: instead of `sampling`, the fields of `SamplingConfig`.

    Raises:
        ConfigError: options out of range, or a target that does not write texts.
        PromptError: the prompt does not fit into the model's context.

    Example:
        tfscale.generate("export", prompt="def ", max_tokens=50, temperature=0.8, top_p=0.95).text
    """
    chosen = config_of(SamplingConfig, sampling, options, "sampling")
    return opened(target, threads).generate(
        prompt,
        max_tokens=max_tokens,
        sampling=chosen,
        stop=stop,
        on_text=on_text,
        parse_special=parse_special,
    )


@checks_arguments
def fill(target: str | Artifact, *, text: str, count: int = 5, threads: int = 1) -> "list[Filling]":
    """Returns the most likely tokens for the gap `___`; see `tfscale.inference.cloze.fill`.

    Args:
        target: a run of the family bilstm or bert, or the exported file or folder of a bilstm.
        text: holds `___` once.
        count: how many to give.
        threads: CPU threads; no effect on a run.

    Example:
        tfscale.fill("run", text="the cat___ on the mat")[0].text
    """
    return opened(target, threads).fill(text, count)


@checks_arguments
def correct(
    target: str | Artifact, *, text: str, edit_cost: float = EDIT_COST, threads: int = 1
) -> "list[Correction]":
    """Returns words that are probably misspelt; see `tfscale.inference.cloze.correct`.

    Args:
        target: a run of the family bilstm or bert, or the exported file or folder of a bilstm.
        text: a sentence or two.
        edit_cost: nats by which the text must become more likely.
        threads: CPU threads; no effect on a run.

    Example:
        tfscale.correct("run", text="the cst sat on the mat")[0].replacement
    """
    return opened(target, threads).correct(text, edit_cost)


@checks_arguments
def predict(
    target: str | Artifact,
    *,
    text: str = "",
    question: str = "",
    file: str = "",
    beams: int = 1,
    threads: int = 1,
) -> "list[Prediction]":
    """Returns labels, tags, answers or texts by a fine-tuned task or its exported file.

    Args:
        target: a folder of `tfscale.finetune`, or an exported file or its folder, also that of a
            text classifier of your own.
        text: one text to predict for.
        question: the question to it, for the task answer.
        file: examples instead of a text, as for `finetune`; their labels are not needed.
        beams: hypotheses of a beam search, for translate and summarize; 1 takes the likeliest token
            each time.
        threads: CPU threads; no effect on a folder of `finetune`.

    Returns:
        A prediction for each example.

    Raises:
        ConfigError: both or neither of text and file, or a target that is not a task.
        DataError: the file is missing or has no examples.

    Example:
        tfscale.predict("task", text="a fine film")[0]["label"]
    """
    if bool(text) == bool(file):
        raise ConfigError("give either text or file")
    if file and question:
        raise ConfigError("question goes with text; a file has a question in each example")
    return opened(target, threads).predict(text, question, file, beams)


@checks_arguments
def explain(
    target: str | Artifact, config: ExplainConfig | None = None, **options: object
) -> JsonObject:
    """Explains why a classifier gives a label to a text, or a language model its last token.

    Args:
        target: a folder of `tfscale.finetune` for classify, a run, or for LIME a classifier's
            export.
        config: the text and the method.
        **options: instead of `config`, the fields of `ExplainConfig`.

    Returns:
        The parts of the text with their weights, see `tfscale.analysis.explaining.explain_label`;
        `output`, if it is given, is the same as a page.

    Example:
        tfscale.explain("task", text="a fine film")["parts"]
    """
    chosen = config_of(ExplainConfig, config, options)
    result = opened(target).explain(chosen)
    if chosen.output:
        from tfscale.ui.explanation import write_explanation

        write_explanation(chosen.output, result)
    return result


@checks_arguments
def swap(target: str | Artifact, config: SwapConfig | None = None, **options: object) -> JsonObject:
    """Measures how much likelier texts become by one word instead of another.

    Args:
        target: a run, or an exported file or its folder.
        config: the texts and the pairs of words.
        **options: instead of `config`, the fields of `SwapConfig`.

    Returns:
        A ratio with its interval for each pair, see `tfscale.analysis.swapping.swap`; `output`, if
        it is given, is the same as a page.

    Example:
        tfscale.swap("run", text=["texts.txt"], pairs="pairs.tsv")["pairs"][0]["mean"]
    """
    chosen = config_of(SwapConfig, config, options)
    result = opened(target, chosen.threads).swap(chosen)
    if chosen.output:
        from tfscale.ui.intervals import write_swaps

        write_swaps(chosen.output, result)
    return result


@checks_arguments
def benchmark(
    target: str,
    *,
    tokens: int = 128,
    prompt_tokens: int = 64,
    repeats: int = 3,
    threads: Sequence[int] = (1,),
) -> JsonObject:
    """Times an exported file on this machine.

    Args:
        target: a .tflite file, or its folder.
        tokens: tokens to decode.
        prompt_tokens: tokens of the prompt.
        repeats: timed repetitions; medians are given.
        threads: numbers of CPU threads to time.

    Returns:
        Tokens per second of the prompt and of decoding, seconds to the first token, size and
        memory. With several numbers of threads the figures are those of the first, and
        `by_threads` has all.

    Example:
        tfscale.benchmark("export", threads=[1, 2])["decode_tokens_per_second"]
    """
    if not threads:
        raise ConfigError("threads needs one number or more")
    timings = [
        opened(target, number).benchmark(tokens, repeats, prompt_tokens) for number in threads
    ]
    names = (
        "threads",
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "first_token_seconds",
    )
    if len(timings) == 1:
        return timings[0]
    by_threads = [{name: timing[name] for name in names} for timing in timings]
    return timings[0] | {"by_threads": by_threads}
