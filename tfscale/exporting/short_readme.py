"""README.md of the exports that are no files of a network that decodes: n-grams, scoring files and
tasks."""

import html
import re
from typing import Any

from tfscale.tasks.task import Task
from tfscale.terminal import visible

_NGRAM = """# N-gram language model

Made by tfscale {version}: `{file}` holds {ngrams} n-grams of orders 1 to {order}, `tokenizer/` cuts its text.

| | |
|---|---|
| N-grams | {by_order} |
| Vocabulary | {vocabulary:,} tokens |
| File | {bytes:,} bytes, weights {quantize} |
| Perplexity of the file | {perplexity:.2f} on {held_out} |

{use}
"""

_NGRAM_USE = """## Run it

    pip install tfscale
    tfscale generate . --prompt "" --max-tokens 50 --temperature 0.8

or in Python, with NumPy alone:

```python
import tfscale.device

model = tfscale.device.load(".")
print(model.generate("", max_tokens=50).text)
print(model.score("some text").bits_per_byte)
```"""

_ARPA_USE = """## Use it

Any program for ARPA files reads it, such as KenLM: `kenlm.Model("model.arpa").score("words of a document")`. Its words
are the tokens of `tokenizer/` as `tfscale.ngram.arpa.token_names` spells them."""


def ngram_readme(metadata: dict[str, Any], report: dict[str, Any]) -> str:
    """README.md of an exported n-gram model."""
    sizes = metadata["model"]["ngrams"]
    return _NGRAM.format(
        version=metadata["tfscale_version"],
        file=metadata["file"],
        ngrams=f"{sum(sizes):,}",
        order=metadata["model"]["order"],
        by_order=", ".join(f"{size:,}" for size in sizes),
        vocabulary=metadata["vocabulary_size"],
        bytes=report["sizes"]["file_bytes"],
        quantize=metadata["quantize"],
        perplexity=report["perplexity"]["file"],
        held_out=report["held_out"]["source"],
        use=_ARPA_USE if metadata["format"] == "arpa" else _NGRAM_USE,
    )


_SCORING = """# {title}

Made by tfscale {version}: `model.tflite` reads windows of {length} tokens{tokenizer}.

| | |
|---|---|
| File | {bytes:,} bytes, weights {quantize} |
| {name} of the file | {score:.2f} (Keras {keras:.2f}) |

The one signature is `score`: `tokens` int32 (1, {length}) -> `logits` float32 (1, {length}, {vocabulary}). {meaning}

{commands}
"""
_SCORE_IDS = (
    "python -c \"import tfscale.device; print(tfscale.device.load('.').score([1, 2, 3]).nll)\"  #"
    " ids of your own"
)


def scoring_readme(metadata: dict[str, Any], report: dict[str, Any]) -> str:
    """README.md of a file that scores windows."""
    cloze = metadata["cloze"]
    name = "pseudo_perplexity" if cloze else "perplexity"
    meaning = (
        "Logits at t are for the token at t + 1, from all tokens of the window but that one."
        if cloze
        else "Logits at t are for the token after it."
    )
    commands = ["pip install 'tfscale[train]'", "tfscale evaluate . --text FILE.txt"]
    if cloze:
        commands += [
            (
                'tfscale fill . --text "a text with a ___ in it"      # needs `pip install tfscale`'
                " alone"
            ),
            'tfscale correct . --text "a tezt"',
        ]
    if not metadata["tokenizer"]:
        commands = ["pip install tfscale", _SCORE_IDS]
    return _SCORING.format(
        title="Cloze model" if cloze else "Language model that scores",
        version=metadata["tfscale_version"],
        length=metadata["model"]["sequence_length"],
        bytes=report["sizes"]["file_bytes"],
        tokenizer=", `tokenizer/` cuts its text" if metadata["tokenizer"] else "",
        quantize=metadata["quantize"],
        name=name.replace("_", "-").capitalize(),
        score=report[name]["file"],
        keras=report[name]["keras"],
        vocabulary=report["vocabulary_size"],
        meaning=meaning,
        commands="\n".join(f"    {command}" for command in commands),
    )


_TASK = """# {task}

Made by tfscale {version}: `model.tflite` reads {length} tokens, `tokenizer/` cuts the text.

| | |
|---|---|
| Labels | {labels} |
| File | {bytes:,} bytes, weights {quantize} |

The one signature is `score`: `tokens` int32 (1, {length}) -> `logits` float32 (1, {shape}). The tokens are {begin},
the text, the end token ({end}), and end tokens up to {length}.

    pip install tfscale
    tfscale predict . --text "some words"{question}

or in Python, without TensorFlow:

```python
import tfscale.device

print(tfscale.device.load(".").predict_text("some words"{argument}))
```
"""


_WRITER = """# {task}

Made by tfscale {version}: `model.tflite` reads sources of up to {source} tokens, {ends} among them, and writes up
to {target} tokens; `tokenizer/` cuts the text.

| | |
|---|---|
| Architecture | {architecture} |
| File | {bytes:,} bytes, weights {quantize} |
| Equal texts of Keras and file | {equal} |

{signatures}

    pip install tfscale
    tfscale predict . --text "some words"

or in Python, without TensorFlow:

```python
import tfscale.device

print(tfscale.device.load(".").predict_text("some words")["text"])
```
"""
_SIGNATURES = {
    "prefix": (
        "It has the signatures of a language model: `prefill_{source}` reads the first token, the"
        " source and the end\ntoken, with a mask that hides nothing of them; `decode` is given the"
        " last of them again, and then each token\nthat was written."
    ),
    "encoder_decoder": (
        "`encode` reads the first token, the source and end tokens up to {source}; what it gives,"
        " `decode` takes\nbeside the end token, and then each token that was written."
    ),
}


def table_text(text: str) -> str:
    """Returns a text of somebody else's as a cell of a Markdown table shows it: no markup, no end
    of the cell.

    Example:
        table_text("neg|<b>")    # "neg&#124;&lt;b&gt;"
    """
    escaped = html.escape(visible(" ".join(text.split("\n"))))
    return re.sub(r"[|`*_\[\]\\~]", lambda match: f"&#{ord(match[0])};", escaped)


def task_readme(task: Task, metadata: dict[str, Any], report: dict[str, Any]) -> str:
    """Returns the README.md of an exported task."""
    if task.gives == "text":
        return _writer_readme(task, metadata, report)
    labels, asks = task.labels, task.takes_question
    return _TASK.format(
        task=task.title,
        version=metadata["tfscale_version"],
        length=task.sequence_length,
        shape=", ".join(map(str, task.logits_shape)),
        labels=", ".join(map(table_text, labels[:40])) + (" ..." if len(labels) > 40 else ""),
        quantize=metadata["quantize"],
        bytes=report["sizes"]["file_bytes"],
        question=' --question "what?"' if asks else "",
        argument=', question="what?"' if asks else "",
        end=metadata["end_id"],
        begin=_begin(metadata),
    )


def _writer_readme(task: Task, metadata: dict[str, Any], report: dict[str, Any]) -> str:
    config, source = metadata["config"], metadata["source_length"]
    architecture = config["architecture"] or "prefix"
    equal = [row["value"] for row in report["checks"] if row["name"].startswith("equal_texts")]
    return _WRITER.format(
        task=task.title,
        source=source,
        target=metadata["target_length"],
        version=metadata["tfscale_version"],
        bytes=report["sizes"]["file_bytes"],
        architecture={"prefix": "prefix LM", "encoder_decoder": "encoder-decoder"}[architecture],
        ends=_ends(metadata),
        quantize=metadata["quantize"],
        signatures=_SIGNATURES[architecture].format(source=source),
        equal=(
            f"{min(equal):.0%} of {report['compared_on']['examples']}"
            if equal
            else "not compared, without examples"
        ),
    )


def _begin(metadata: dict[str, Any]) -> str:
    """The token before a text, in words."""
    same = metadata["start_id"] == metadata["end_id"]
    return "the end token" if same else f"the start token ({metadata['start_id']})"


def _ends(metadata: dict[str, Any]) -> str:
    start, end = metadata["start_id"], metadata["end_id"]
    return (
        "two end tokens" if start == end else f"the start token ({start}) and the end token ({end})"
    )
