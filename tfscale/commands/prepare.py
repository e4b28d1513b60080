"""`tfscale prepare`: text to token shards."""

from collections.abc import Iterator

from jsonargparse import Namespace

from tfscale.commands.command import Command
from tfscale.commands.parser import build_config
from tfscale.commands.scores import unknown
from tfscale.config import PrepareConfig
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import print_table


def run(options: Namespace) -> JsonObject:
    """Writes the data folder; returns the figures of its manifest."""
    config = build_config(PrepareConfig, options)
    from tfscale.api import prepare

    manifest = prepare(config)
    splits = {
        name: {
            "documents": split.documents,
            "tokens": split.tokens,
            "bytes": split.utf8_bytes,
            "unknown_tokens": split.unknown_tokens,
        }
        for name, split in manifest.splits.items()
    }
    return {
        "output": config.output,
        "vocabulary_size": manifest.vocabulary_size,
        "cleaning": manifest.cleaner.steps,
        "splits": splits,
        "counts": manifest.counts,
    }


def show(result: JsonObject) -> None:
    """Prints documents, tokens, bytes and unknown tokens of each split, and what was dropped."""
    rows = [
        [
            name,
            *(f"{split[key]:,}" for key in ("documents", "tokens", "bytes")),
            f"{split['bytes'] / split['tokens']:.3f}",
            unknown(split["unknown_tokens"], split["tokens"]),
        ]
        for name, split in result["splits"].items()
    ]
    print_table(["split", "documents", "tokens", "bytes", "bytes/token", "unknown tokens"], rows)
    if changes := list(_changes(result["counts"])):
        print_table(["of the training text", ""], changes)
    cleaned = (
        f"; text and bytes as cleaned: {', '.join(result['cleaning'])}"
        if result["cleaning"]
        else ""
    )
    print(f"{result['output']}: vocabulary of {result['vocabulary_size']:,}{cleaned}")


def _changes(counts: dict[str, int]) -> Iterator[list[str]]:
    """Yields what the quality options did, in words, and how often."""
    for name, count in counts.items():
        what, _, by = name.partition("/")
        rule, _, reason = by.partition("/")
        if reason and rule != "decontaminate":
            reason = reason.replace("_", " ")  # That of decontamination is the name of a file.
        if what in ("dropped", "removed", "edited"):
            words = [what, rule.replace("_", " "), reason]
            yield [": ".join(filter(None, words)), f"{count:,}"]
        elif name == "near_duplicates" or (name == "duplicates" and count):
            yield [f"dropped: {name.replace('_', ' ')}", f"{count:,}"]


COMMAND = Command(
    name="prepare",
    description="Text to a tokenizer, checked token shards and a manifest.",
    takes=(PrepareConfig,),
    run=run,
    show=show,
)
