"""The files that `prepare` reads, the part of the data each belongs to, and how they are read."""

import os

from tfscale.config import PrepareConfig
from tfscale.data.splits import TEST, TRAIN, VALIDATION, Part
from tfscale.errors import DataError
from tfscale.files.paths import is_remote
from tfscale.text.builtin import builtin_corpus
from tfscale.text.corpora import find_text
from tfscale.text.reader import ReadCounts, Reading, TextFile


def find_sources(config: PrepareConfig) -> dict[Part, list[TextFile]]:
    """Finds the files of each split; those of "train" may also provide the held-out splits."""
    if config.source:
        named = config.source.items()
        sources = {Part(TRAIN, source): find_text(paths) for source, paths in named}
    elif config.corpus:
        sources = {Part(TRAIN): builtin_corpus(config.corpus)}
    else:
        sources = {Part(TRAIN): find_text(config.text)}
    for split, paths in ((VALIDATION, config.validation_text), (TEST, config.test_text)):
        if paths:
            sources[Part(split)] = find_text(paths)
    seen: dict[str, Part] = {}
    output = os.path.realpath(config.output)
    for part, files in sources.items():
        for file in (file for file in files if file.text is None):
            path = file.name if is_remote(file.name) else os.path.realpath(file.name)
            if not is_remote(path) and os.path.commonpath([path, output]) == output:
                raise DataError(
                    f"{file.name} lies in the output folder {config.output}, which is replaced;"
                    " name another"
                )
            if seen.setdefault(path, part) != part:
                first, second = (each.source or each.split for each in (seen[path], part))
                raise DataError(
                    f"{file.name} is in the {first} text and in the {second} text; leave it out of"
                    " one"
                )
    return sources


def reading_of(config: PrepareConfig, counts: ReadCounts) -> Reading:
    """Returns how the texts of these options are read; `counts` is added to."""
    return Reading(
        documents=config.documents,
        invalid_utf8=config.invalid_utf8,
        counts=counts,
        text_field=config.text_field,
        encoding=config.encoding,
        format=config.format,
    )
