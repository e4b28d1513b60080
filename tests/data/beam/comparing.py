"""Data folders of both engines, byte by byte, and texts for them."""

import gzip
import json
import random
from pathlib import Path

from tfscale.config import PrepareConfig
from tfscale.data.prepare import prepare

WORDS = (
    "the be to of and that have with lighthouse keeper counted ships passed before dawn rain came"
    " west smell cut grass nobody remembered painted door green train stopped between stations"
    " passengers looked harbour lamps burned red white yellow"
).split()


def prose(seed, lines=4):
    """Lines of words that are different for each seed."""
    rng = random.Random(seed)
    return "\n".join(
        " ".join(rng.choices(WORDS, k=rng.randint(12, 18))).capitalize() + "." for _ in range(lines)
    )


def messy(count, first=0):
    """Documents of which some are the same, similar, in German, too short, or hold an address."""
    documents = [prose(seed) for seed in range(first, first + count)]
    documents += documents[::7]
    documents += [text.replace("\n", " ").upper() for text in documents[1::9]]
    documents += [f"{text} It was so." for text in documents[2::11]]
    documents += [f"{prose(first + 1000 + n)} Write to jane{n}@example.org." for n in range(5)]
    documents += ["Short.", "12345 " * 60, "Das ist ein Haus mit einem roten Dach und Garten. " * 4]
    random.Random(first).shuffle(documents)
    return documents


def write_paragraphs(path, documents):
    path.write_text("\n\n".join(text.replace("\n\n", "\n") for text in documents))
    return str(path)


def write_records(path, documents):
    with gzip.open(path, "wt") as file:
        for text in documents:
            file.write(json.dumps({"text": text, "n": 1}) + "\n")
    return str(path)


def content(directory):
    """Every file of a folder."""
    folder = Path(directory)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def prepared(output, **options):
    config = PrepareConfig(output=str(output), **{"processes": 1} | options)
    prepare(config, progress=False)
    return content(output)


def by_beam(output, beam=None, **options):
    return prepared(
        output, engine="beam", beam={"runner": "DirectRunner", **(beam or {})}, **options
    )


def assert_same(folder, beam=None, **options):
    """Asserts that both engines write the same folder; returns its files."""
    local = prepared(folder / "local", **options)
    assert "manifest.json" in local
    assert by_beam(folder / "beam", beam, **options) == local
    return local
