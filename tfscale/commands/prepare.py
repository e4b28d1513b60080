"""`tfscale prepare`: text to token shards."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from tfscale.commands.command import Command
from tfscale.commands.parser import build_config
from tfscale.commands.scores import unknown
from tfscale.config import PrepareConfig
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import print_table

if TYPE_CHECKING:
    from tfscale.data.manifest import SourceCounts, Split


def run(options: Namespace) -> JsonObject:
    """Writes the data folder; returns the figures of its manifest."""
    config = build_config(PrepareConfig, options)
    from tfscale.api import prepare

    manifest = prepare(config)
    splits = {}
    for name, split in manifest.splits.items():
        splits[name] = _counts(split) | {"unknown_tokens": split.unknown_tokens}
        if split.sources:
            splits[name]["sources"] = {
                source: _counts(counts) for source, counts in split.sources.items()
            }
    return {
        "output": config.output,
        "vocabulary_size": manifest.vocabulary_size,
        "cleaning": manifest.cleaner.steps,
        "splits": splits,
        "counts": manifest.counts,
    }


def _counts(counted: "Split | SourceCounts") -> JsonObject:
    return {
        "documents": counted.documents,
        "tokens": counted.tokens,
        "bytes": counted.utf8_bytes,
    }


def _figures(name: str, counts: JsonObject) -> list[str]:
    return [
        name,
        *(f"{counts[key]:,}" for key in ("documents", "tokens", "bytes")),
        f"{counts['bytes'] / counts['tokens']:.3f}",
    ]


def show(result: JsonObject) -> None:
    """Prints documents, tokens, bytes and unknown tokens of each split and of its sources, and what
    was dropped."""
    rows = []
    for name, split in result["splits"].items():
        rows.append([*_figures(name, split), unknown(split["unknown_tokens"], split["tokens"])])
        rows += [
            [*_figures(f"  {source}", counts), ""]
            for source, counts in split.get("sources", {}).items()
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
    description="Makes a tokenizer, checked token shards and a manifest of text.",
    takes=(PrepareConfig,),
    run=run,
    show=show,
)
