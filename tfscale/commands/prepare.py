"""`tfscale prepare`: text to token shards."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import add_config, build_config, new_parser, parse_words
from tfscale.commands.scores import unknown
from tfscale.compat.quiet import load_tensorflow
from tfscale.config import PrepareConfig
from tfscale.terminal import print
from tfscale.ui.tables import print_table

SUMMARY = "text -> tokenizer, token shards, manifest"


def build_parser() -> ArgumentParser:
    """The options of `tfscale prepare`."""
    parser = new_parser("prepare", "Text to a tokenizer, checked token shards and a manifest.")
    add_config(parser, PrepareConfig)
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale prepare`."""
    return parse_words(build_parser(), words)


def run(options: Namespace) -> dict[str, Any]:
    """Writes the data folder; returns the figures of its manifest."""
    config = build_config(PrepareConfig, options)
    load_tensorflow()
    from tfscale.data.prepare import prepare

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
    cleaning = manifest.cleaner.steps
    return {
        "output": config.output,
        "vocabulary_size": manifest.vocabulary_size,
        "cleaning": cleaning,
        "splits": splits,
    }


def show(result: dict[str, Any]) -> None:
    """Prints documents, tokens, bytes and unknown tokens of each split."""
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
    cleaned = (
        f"; text and bytes as cleaned: {', '.join(result['cleaning'])}"
        if result["cleaning"]
        else ""
    )
    print(f"{result['output']}: vocabulary of {result['vocabulary_size']:,}{cleaned}")
