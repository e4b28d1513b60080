"""The closing table of `tfscale quickstart`, in its page and on the terminal."""

import os

from tfscale.files.json_text import JsonObject
from tfscale.terminal import plain, print


def table_rows(result: JsonObject) -> list[tuple[str, str]]:
    """Returns the rows of the closing table: what was measured, and the figure as text."""
    validation, sizes = result["validation"], result["sizes"]
    perplexity, seconds = result["perplexity_on_parity_tokens"], result["seconds"]
    speed = result["decode_tokens_per_second"]
    megabytes = {name: f"{size / 1e6:.2f} MB" for name, size in sizes.items()}
    return [
        ("Parameters", f"{result['parameters']:,}"),
        (
            "Training",
            (
                f"{result['steps']:,} steps, {result['passes_over_the_data']:.1f} passes over "
                f"{result['training_tokens']:,} tokens"
            ),
        ),
        (
            "Training speed",
            (
                f"{result['train_tokens_per_second']:,.0f} tokens/s, "
                f"{100 * result['input_wait_fraction']:.1f} % of it waiting for input"
            ),
        ),
        (
            "Validation perplexity",
            (
                f"{validation['perplexity']:.2f} on the whole split (unigram"
                f" {result['unigram']['perplexity']:.0f})"
            ),
        ),
        ("Bits per byte: model", f"{validation['bits_per_byte']:.3f}"),
        ("Bits per byte: gzip -9, whole split", f"{result['gzip']['whole_bits_per_byte']:.3f}"),
        (
            "Bits per byte: gzip -9, each document",
            f"{result['gzip']['per_document_bits_per_byte']:.3f}",
        ),
        ("Bits per byte: unigram", f"{result['unigram']['bits_per_byte']:.3f}"),
        ("Keras file", megabytes["keras_bytes"]),
        ("float .tflite", megabytes["float_bytes"]),
        (
            "int8 .tflite",
            (
                f"{megabytes['int8_bytes']} ({sizes['int8_bytes'] / sizes['float_bytes']:.2f} of"
                " float)"
            ),
        ),
        (
            f"Perplexity on {perplexity['tokens']:,} held-out tokens",
            (
                f"Keras {perplexity['keras']:.3f}, float {perplexity['float']:.3f}, int8"
                f" {perplexity['int8']:.3f}"
            ),
        ),
        (
            "Decoding on the device runner",
            f"float {speed['float']:,.0f}, int8 {speed['int8']:,.0f} tokens/s, one thread",
        ),
        ("Time", ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())),
    ]


def show_table(result: JsonObject) -> None:
    """Prints the completions and the closing table to the terminal."""
    from rich.console import Console
    from rich.rule import Rule
    from rich.table import Table

    console = Console()
    for sample in result["samples"]:
        console.print(Rule(style="dim"))
        prompt = plain(sample["prompt"])
        prompt.stylize("bold")
        console.print(prompt + plain(sample["completion"]))
    table = Table(show_header=False)
    for name, value in table_rows(result):
        table.add_row(name, plain(value))
    console.print(Rule(style="dim"))
    console.print(table)
    print(f"Report: {os.path.join(result['output'], 'report.html')}")
