"""From raw text to a data folder.

Reads, cleans and splits text, trains a tokenizer, tokenizes, writes shards and the manifest.
"""

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator

from tfscale.config import PrepareConfig, to_dict
from tfscale.data.cutting import cut_spool
from tfscale.data.manifest import MANIFEST_FILE, Manifest, token_dtype
from tfscale.data.sampling import tokenizer_sample
from tfscale.data.splits import (
    TEST,
    TRAIN,
    VALIDATION,
    Borders,
    HoldOut,
    Part,
    document_digest,
    split_hash,
)
from tfscale.data.spool import Spool, SpoolWriter
from tfscale.data.tokenizing import Encoded
from tfscale.data.writing import cores, write_splits, write_tokens
from tfscale.errors import DataError
from tfscale.files.folders import atomic_directory, claim_directory
from tfscale.files.paths import is_remote
from tfscale.terminal import note, print
from tfscale.text.builtin import builtin_corpus
from tfscale.text.cleaning import Cleaner
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.reader import ReadCounts, TextFile
from tfscale.text.tokenizers import Tokenizer, load_tokenizer, train_tokenizer
from tfscale.text.tokenizers.training import AUTOMATIC_SIZE, trainable_kind
from tfscale.text.tokenizers.training_options import TrainingOptions
from tfscale.ui.progress import TextProgress

_MUCH_UNKNOWN = 0.05
"""Share of unknown tokens above which perplexity says little about the text."""
_NOT_IN_MANIFEST = ("output", "processes")
"""Options that do not change what is written."""


def prepare(config: PrepareConfig, progress: bool = True) -> Manifest:
    """Writes a data folder: token shards of each split, the tokenizer, and the manifest.

    The same text, options and seed give the same bytes, whatever the number of processes. The
    folder appears, or replaces an earlier one, when all is done.

    Args:
        config: the text and what to make of it.
        progress: whether to show documents, tokens per second and remaining time on stderr.

    Returns:
        The manifest of the folder at `config.output`.

    Raises:
        DataError: the text is missing, empty, not UTF-8, or has too few documents for its splits;
            or the output folder is something else.
        TokenizerError: the text does not support the vocabulary.

    Example:
        manifest = prepare(PrepareConfig(text=["books/"], vocabulary_size=8192, output="data"))
        manifest.splits["train"].tokens
    """
    claim_directory(config.output, MANIFEST_FILE, "a data folder", key="tokenizer_digest")
    sources = _sources(config)
    tokenizer = load_tokenizer(config.tokenizer_from) if config.tokenizer_from else None
    if tokenizer is None:
        # Refused before anything is read.
        options = TrainingOptions(config.seed, config.sentencepiece_model, config.word_segmenter)
        trainable_kind(config.tokenizer).check_training(options)
    with atomic_directory(config.output) as directory:
        cleaner = _cleaner(config, tokenizer, progress)
        spool_path = os.path.join(directory, "documents.spool")
        spool, counts = _read(config, sources, cleaner, spool_path, progress)
        if tokenizer is None:
            tokenizer = _train(config, spool, progress)
            tokenizer.cleaner = cleaner
        processes = config.processes or cores()
        totals = write_tokens(directory, tokenizer, spool, processes, progress)
        _check_splits(config, totals)
        dtype = token_dtype(tokenizer.vocabulary_size)
        splits = write_splits(directory, totals, dtype, config.shards, processes, progress)
        given = {k: value for k, value in to_dict(config).items() if k not in _NOT_IN_MANIFEST}
        how = given | dataclasses.asdict(cleaner)
        manifest = Manifest.of(tokenizer, splits, how, counts)
        manifest.save(directory)
    if progress:
        _note_unknown(manifest)
    return manifest


def _note_unknown(manifest: Manifest) -> None:
    shares = {
        name: (split.unknown_tokens or 0) / split.tokens for name, split in manifest.splits.items()
    }
    most = max(shares, key=lambda name: shares[name])
    if shares[most] > _MUCH_UNKNOWN:
        note(
            f"{100 * shares[most]:.3g} % of the {most} tokens are unknown to this vocabulary;"
            " sentencepiece and byte tokenizers know every text"
        )


def _sources(config: PrepareConfig) -> dict[Part, list[TextFile]]:
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


def _cleaner(config: PrepareConfig, tokenizer: Tokenizer | None, progress: bool) -> Cleaner:
    """Joins the cleaning of the options and of an earlier tokenizer.

    A model of that tokenizer has seen no other text.
    """
    wanted = Cleaner(
        strip_html=config.strip_html,
        unicode_normalization=config.unicode_normalization,
        lowercase=config.lowercase,
        collapse_whitespace=config.collapse_whitespace,
    )
    if tokenizer is None:
        return wanted
    cleaner = wanted.joined(tokenizer.cleaner)
    if progress and cleaner != tokenizer.cleaner:
        more = [step for step in cleaner.steps if step not in tokenizer.cleaner.steps]
        note(
            f"the tokenizer of {config.tokenizer_from} does not clean by {', '.join(more)}: this"
            " text is cleaned by it, and one that evaluate or generate reads is not"
        )
    return cleaner


@dataclasses.dataclass
class _Dropped:
    """Documents that are not kept."""

    cleaned_away: int = 0
    duplicates: int = 0


def _read(
    config: PrepareConfig,
    sources: dict[Part, list[TextFile]],
    clean: Cleaner,
    spool_path: str,
    progress: bool,
) -> tuple[Spool, dict[str, int]]:
    """Spools the documents that are kept; returns them and the counts for the manifest."""
    counts, dropped = ReadCounts(), _Dropped()
    hold_out = HoldOut(
        validation_fraction=0 if Part(VALIDATION) in sources else config.validation_fraction,
        test_fraction=0 if Part(TEST) in sources else config.test_fraction,
    )
    total = sum(file.size for files in sources.values() for file in files)
    with (
        SpoolWriter(spool_path) as writer,
        TextProgress("reading", total, enabled=progress) as meter,
    ):
        for (split, source), files in sources.items():
            texts = read_documents(
                files,
                config.documents,
                config.invalid_utf8,
                counts,
                on_file=lambda file: meter.add(size=file.size),
            )
            documents = 0
            for text, place in _kept(meter.counted(texts), clean, config, dropped):
                documents += 1
                if split == TRAIN:
                    hold_out.add(place)
                writer.add(text, place, split, source)
            if not documents:
                what = f"{split} text" if source is None else f"text of the source {source}"
                raise DataError(f"the {what} is empty: {_names(files)}")
    uncut = Spool(spool_path, writer.batches, Borders(0, 0), writer.sources)
    if hold_out.too_few and not config.source and (cut := _cut(config, sources, uncut, progress)):
        spool, pieces = cut
    else:
        spool, pieces = dataclasses.replace(uncut, borders=hold_out.borders()), 0
    return spool, (
        dataclasses.asdict(counts) | dataclasses.asdict(dropped) | {"cut_for_splits": pieces}
    )


def _kept(
    texts: Iterable[str], clean: Cleaner, config: PrepareConfig, dropped: _Dropped
) -> Iterator[tuple[str, int]]:
    """Yields the cleaned text of each document that is kept, and its `split_hash`."""
    seen: set[bytes] = set()
    for text in map(clean, texts):
        if not text:
            dropped.cleaned_away += 1
            continue
        digest = document_digest(text.encode("utf-8"), config.seed)
        if config.drop_duplicates:
            if digest in seen:
                dropped.duplicates += 1
                continue
            seen.add(digest)
        yield text, split_hash(digest)


def _cut(
    config: PrepareConfig, sources: dict[Part, list[TextFile]], spool: Spool, progress: bool
) -> tuple[Spool, int] | None:
    """Cuts documents that are too few for the splits; None where the text is too short for that."""
    shares = {VALIDATION: config.validation_fraction, TEST: config.test_fraction}
    named = {part.split for part in sources}
    shares = {split: share for split, share in shares.items() if share and split not in named}
    cut = cut_spool(spool, shares)
    if cut and progress:
        parts = {TRAIN: 1 - sum(shares.values())} | shares
        described = ", ".join(f"{100 * share:.3g} % {split}" for split, share in parts.items())
        note(
            f"the text has too few documents for {len(parts)} splits and is cut, in its order:"
            f" {described}"
        )
    return cut


def _names(files: list[TextFile]) -> str:
    names = ", ".join(file.name for file in files[:3])
    return f"{names} and {len(files) - 3} more" if len(files) > 3 else names


def _train(config: PrepareConfig, spool: Spool, progress: bool) -> Tokenizer:
    reads_text = trainable_kind(config.tokenizer).reads_text
    sample: list[str] = []
    if reads_text:
        sample = list(tokenizer_sample(spool, config.tokenizer_sample))
        if progress:
            size = sum(map(len, sample))
            print(
                f"training the {config.tokenizer} tokenizer on {size:,} characters",
                file=sys.stderr,
                flush=True,
            )
    tokenizer = train_tokenizer(
        config.tokenizer,
        sample,
        config.vocabulary_size,
        seed=config.seed,
        sentencepiece_model=config.sentencepiece_model,
        word_segmenter=config.word_segmenter,
    )
    smaller = not config.vocabulary_size and tokenizer.vocabulary_size < AUTOMATIC_SIZE
    if progress and smaller and reads_text:
        note(
            f"a vocabulary of {tokenizer.vocabulary_size:,} entries: the text does not support"
            f" {AUTOMATIC_SIZE:,}"
        )
    return tokenizer


def _check_splits(config: PrepareConfig, totals: dict[Part, Encoded]) -> None:
    found = {part.split for part in totals}
    for split, fraction in (
        (VALIDATION, config.validation_fraction),
        (TEST, config.test_fraction),
        (TRAIN, 1),
    ):
        if fraction and split not in found:
            raise DataError(
                f"the {split} split got no document by {split}_fraction={fraction}; choose a larger"
                " fraction"
            )
    if lost := [name for name in config.source if Part(TRAIN, name) not in totals]:
        raise DataError(
            f"all documents of the source {lost[0]} are held out; give more text of it, or choose"
            " smaller fractions"
        )
