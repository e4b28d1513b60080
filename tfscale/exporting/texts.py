"""What a person reads of an export: README.md and report.html."""

import os
from typing import Any

import numpy as np

from tfscale.exporting.readme import readme
from tfscale.files.paths import atomic_write, read_json_lines
from tfscale.text.tokenizers import Tokenizer
from tfscale.ui.report import render_report


def write_texts(
    folder: str,
    network: Any,
    tokenizer: Tokenizer,
    report: dict[str, Any],
    metadata: dict[str, Any],
    history: str = "",
) -> None:
    """Writes README.md and report.html.

    Args:
        folder: the export folder.
        network: what was exported.
        tokenizer: its tokenizer.
        report: the content of parity.json.
        metadata: that of model.json.
        history: history.jsonl of its run, where there is one.
    """
    parameters = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    greedy = report.get("greedy", {"prompt": "", "file": ""})
    prompt = greedy["prompt"]
    short = prompt.splitlines()[0][:40] if prompt.strip() else ""
    text = readme(
        metadata,
        report,
        parameters=parameters,
        tokenizer_kind=tokenizer.kind,
        prompt=short,
        prompt_ids=tokenizer.prompt_ids(tokenizer.encode(short)),
    )
    if tokenizer.cleaner.steps:
        text += (
            "\n## Text\n\nThe model was trained on text cleaned by"
            f" {', '.join(tokenizer.cleaner.steps)}. `tfscale` cleans what it is given in the same"
            " way; an app of your own has to.\n"
        )
    with atomic_write(os.path.join(folder, "README.md"), "w") as file:
        file.write(text)
    totals: dict[str, int] = {}
    for counts in report.get("operations", {}).values():
        for name, number in counts.items():
            totals[name] = totals.get(name, 0) + number
    names = {
        "tflite": "LiteRT",
        "litertlm": "LiteRT-LM",
        "saved_model": "TensorFlow",
        "web": "the browser",
    }
    sections: list[tuple[str, tuple[str, str], Any]] = [
        ("Export", ("", ""), _rows(report, metadata, parameters)),
        ("Operations", ("operation", "count"), sorted(totals.items(), key=lambda item: -item[1])),
        ("Made with", ("package", "version"), list(report["versions"].items())),
    ]
    render_report(
        os.path.join(folder, "report.html"),
        f"{metadata['family'].capitalize()} for {names[metadata['format']]}, {metadata['quantize']}"
        " weights",
        [section for section in sections if section[2]],
        history=read_json_lines(history) if history else [],
        samples=[(prompt, greedy["file"])] if prompt else [],
        checks=report["checks"],
    )


def _rows(
    report: dict[str, Any], metadata: dict[str, Any], parameters: int
) -> list[tuple[str, str]]:
    sizes, perplexity = report["sizes"], report["perplexity"]
    counted = report["held_out"].get("unknown_tokens")
    unknown = f" ({counted:,} of them unknown)" if counted else ""
    rows = [("Parameters", f"{parameters:,}"), ("Weights in the file", metadata["quantize"])]
    if "float32_weight_bytes" in sizes:
        fraction = sizes["file_bytes"] / sizes["float32_weight_bytes"]
        rows += [
            ("File", f"{sizes['file_bytes']:,} bytes ({fraction:.3f} of the weights in float32)"),
            ("File, gzip", f"{sizes['gzip_bytes']:,} bytes"),
        ]
    if "bundle_bytes" in sizes:
        rows.append(("Bundle", f"{sizes['bundle_bytes']:,} bytes"))
    rows += [
        ("Perplexity in Keras", f"{perplexity['keras']:.4f}"),
        ("Perplexity of the file", f"{perplexity['file']:.4f}"),
        (
            "Held-out tokens",
            f"{report['held_out']['tokens']:,}{unknown}, {report['held_out']['source']}",
        ),
    ]
    if speed := report.get("speed"):
        if speed["decode_tokens_per_second"]:  # A context of one token is the prompt's.
            rows.append(
                (
                    "Decode on this machine",
                    (
                        f"{speed['decode_tokens_per_second']:,.0f} tokens/s, "
                        f"{speed['threads']} thread(s)"
                    ),
                )
            )
        rows += [
            ("Prompt on this machine", f"{speed['prefill_tokens_per_second']:,.0f} tokens/s"),
        ]
    return rows
