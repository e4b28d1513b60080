"""README.md of an export folder: what the file expects, and code that runs it.

The texts are in `templates/`, one for each kind of file.
"""

import html
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfscale.files.description import Description
from tfscale.registry import RECIPES
from tfscale.terminal import visible
from tfscale.ui.rendering import render

if TYPE_CHECKING:
    from tfscale.device.signature import InputTensor, PredictSignature
    from tfscale.exporting.report import Report
    from tfscale.exporting.source import Source
    from tfscale.tasks.task import Task

_PACKAGE = "tfscale.exporting"
_MOST_LABELS = 40
_PROMPT_CHARACTERS = 40


def text_readme(
    template: str,
    source: "Source",
    description: Description,
    report: "Report",
    sections: tuple[str, ...] = (),
    **values: object,
) -> str:
    """Returns README.md of a file that writes text.

    Args:
        template: name of the template.
        source: what was exported.
        description: the content of model.json.
        report: the content of parity.json.
        sections: templates of sections that come after the first one.
        values: further values that the template shows.
    """
    tokenizer = source.tokenizer
    assert tokenizer is not None
    written = report.get("greedy", {}).get("prompt", "")
    prompt = written.splitlines()[0][:_PROMPT_CHARACTERS] if written.strip() else ""
    context, cache = description.context_length, description.cache or {}
    prefills = [f"`prefill_{length}`" for length in description.prefill_lengths or []]
    signatures = [name for name in sorted(report.get("signatures", {})) if name[0] != "s"]
    text = render(
        _PACKAGE,
        template,
        sections=sections,
        name=f"{description.family.capitalize()} language model",
        version=description.tfscale_version,
        family=description.family,
        parameters=parameter_count(source),
        weights=RECIPES.get(description.quantize).words,
        file=description.file,
        file_bytes=report["sizes"]["file_bytes"],
        gzip_bytes=report["sizes"].get("gzip_bytes", 0),
        bundle_bytes=report["sizes"].get("bundle_bytes", 0),
        context=f"{context:,} tokens" if context else "without bound (carried state)",
        vocabulary=description.vocabulary_size,
        tokenizer_kind=tokenizer.kind,
        ends=_ends(description),
        begun=_begun(description, prompt),
        perplexity_file=report.get("perplexity", {}).get("file"),
        perplexity_keras=report.get("perplexity", {}).get("keras"),
        held_out=report["held_out"]["source"],
        prompt=prompt,
        ids=tokenizer.prompt_ids(tokenizer.encode(prompt)),
        cache=_cache_shapes(cache),
        first=next(iter(cache)),
        states=", ".join(f"`{name}`" for name in cache),
        prefills=", ".join(prefills),
        softmax=report.get("softmax_left_out", False),
        length=context,
        last=(context or 1) - 1,
        signatures=", ".join(f"`{name}`" for name in signatures),
        shell_prompt=shlex.quote(prompt),
        **values,
        compared_by=report.get("compared_by", ""),
        architecture=description.more.get("architecture", ""),
    )
    if tokenizer.cleaner.steps:
        steps = ", ".join(tokenizer.cleaner.steps)
        text += render(_PACKAGE, "cleaning.md.j2", steps=steps)
    if (given := description.embedding) is not None:
        length = given["length"]
        text += render(
            _PACKAGE,
            "embedding.md.j2",
            width=given["width"],
            embed_length=length,
            calls="one token" if length == 1 else f"{length} tokens",
        )
    return text


def _cache_shapes(cache: Mapping[str, Sequence[int]]) -> str:
    """Returns in words the shapes of what is carried."""
    shapes = {tuple(shape) for shape in cache.values()}
    return f"{shapes.pop()} each" if len(shapes) == 1 else "of the shapes in `model.json`"


def parameter_count(source: "Source") -> int:
    """Returns the number of trainable weights."""
    return sum(int(np.prod(weight.shape)) for weight in source.network.trainable_weights)


def _ends(description: Description) -> str:
    """Returns in words what stands before and after a text."""
    end, start = description.end_id, description.start_id
    if not description.prompt_start:
        begins = f"nothing stands before a prompt, id {end} ends a document"
    elif start == end:
        begins = f"id {start} ends a document and begins a prompt"
    else:
        begins = f"id {start} begins a prompt, id {end} ends a document"
    stops = [f"id {stop}" for stop in description.stop_ids or [] if stop != end]
    if stops:
        return f"{begins}; {', '.join(stops)} ends a completion too"
    return begins


def _begun(description: Description, prompt: str) -> str:
    """Returns in words what the ids of the example are."""
    if not description.prompt_start and prompt:
        return repr(prompt)
    first = "end" if description.start_id == description.end_id else "start"
    return f"the {first} token, then {prompt!r}"


def ngram_readme(template: str, description: Description, report: "Report") -> str:
    """Returns README.md of an exported n-gram model; `template` is that of its file."""
    sizes = description.model["ngrams"]
    return render(_PACKAGE, template, description=description, report=report, sizes=sizes)


def windows_readme(description: Description, report: "Report") -> str:
    """Returns README.md of a file that scores windows."""
    return render(
        _PACKAGE,
        "windows.md.j2",
        description=description,
        report=report,
        length=description.window,
        perplexity=report["pseudo_perplexity" if description.cloze else "perplexity"],
    )


def predictor_readme(
    signature: "PredictSignature", description: Description, report: "Report"
) -> str:
    """Returns README.md of a file with `predict`.

    Args:
        signature: inputs and outputs.
        description: the content of model.json.
        report: that of parity.json.
    """
    first = signature.inputs[0]
    return render(
        _PACKAGE,
        "predictor.md.j2",
        version=description.tfscale_version,
        weights=RECIPES.get(description.quantize).words,
        bytes=report["sizes"]["file_bytes"],
        inputs=[(t.name, t.dtype, _shape(t)) for t in signature.inputs],
        outputs=[
            (t.name, t.dtype, _shape(t), _GIVES[t.gives], _label_names(t.labels))
            for t in signature.outputs
        ],
        quality=[
            (name, measure.replace("_", " "), figures["file"], figures["keras"])
            for name, own in report.get("quality", {}).items()
            for measure, figures in own.items()
        ],
        examples=report["compared_on"]["examples"],
        batch=first.shape[0],
        arrays=[(t.name, tuple(t.shape), t.dtype) for t in signature.inputs],
        name=signature.outputs[0].name,
        labelled=any(t.labels for t in signature.outputs),
        takes_text=bool(signature.text),
    )


_GIVES = {
    "probabilities": "probabilities of the classes",
    "probability": "a probability each",
    "logits": "logits of the classes (a softmax makes probabilities)",
    "logit": "a logit each (a sigmoid makes a probability)",
    "values": "values",
}


def _shape(tensor: "InputTensor") -> str:
    return str(tuple(tensor.shape))


def _label_names(labels: Sequence[str]) -> str:
    shown = ", ".join(map(table_text, labels[:_MOST_LABELS]))
    return shown + (" ..." if len(labels) > _MOST_LABELS else "")


def table_text(text: str) -> str:
    """Returns somebody else's text as a cell of a Markdown table shows it, without markup.

    Example:
        table_text("neg|<b>")    # "neg&#124;&lt;b&gt;"
    """
    escaped = html.escape(visible(" ".join(text.split("\n"))))
    return re.sub(r"[|`*_\[\]\\~]", lambda match: f"&#{ord(match[0])};", escaped)


def task_readme(task: "Task", description: Description, report: "Report") -> str:
    """Returns README.md of an exported task."""
    if task.gives == "text":
        return _writer_readme(task, description, report)
    return render(
        _PACKAGE,
        "task.md.j2",
        task=task.title,
        version=description.tfscale_version,
        length=task.sequence_length,
        shape=", ".join(map(str, task.logits_shape)),
        labels=_label_names(task.labels),
        quantize=description.quantize,
        bytes=report["sizes"]["file_bytes"],
        question=' --question "what?"' if task.takes_question else "",
        argument=', question="what?"' if task.takes_question else "",
        end=description.end_id,
        begin=_first_token(description),
    )


def _writer_readme(task: "Task", description: Description, report: "Report") -> str:
    names = {"prefix": "prefix LM", "encoder_decoder": "encoder-decoder"}
    equal = [row["value"] for row in report["checks"] if row["name"].startswith("equal_texts")]
    compared = "not compared, without examples"
    if equal:
        compared = f"{min(equal):.0%} of {report['compared_on']['examples']}"
    return render(
        _PACKAGE,
        "writer.md.j2",
        task=task.title,
        source=task.shape.source_length,
        target=task.shape.target_length,
        version=description.tfscale_version,
        bytes=report["sizes"]["file_bytes"],
        architecture=names[task.config.architecture or "prefix"],
        ends=_first_and_last(description),
        quantize=description.quantize,
        equal=compared,
    )


def _first_token(description: Description) -> str:
    """Returns the token before a text in words."""
    same = description.start_id == description.end_id
    return "the end token" if same else f"the start token ({description.start_id})"


def _first_and_last(description: Description) -> str:
    start, end = description.start_id, description.end_id
    if start == end:
        return "two end tokens"
    return f"the start token ({start}) and the end token ({end})"
