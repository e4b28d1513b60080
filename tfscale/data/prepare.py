"""From raw text to a data folder.

Reads, cleans and splits text, trains a tokenizer, tokenizes, writes shards and the manifest.
"""

import dataclasses
import itertools
import os
import sys
from collections.abc import Iterable

from tfscale.config import PrepareConfig, to_dict
from tfscale.data.manifest import MANIFEST_FILE, Manifest, token_dtype
from tfscale.data.quality.report import write_report
from tfscale.data.quality.selection import Selection, is_asked_for
from tfscale.data.sampling import tokenizer_sample
from tfscale.data.sources import find_sources, reading_of
from tfscale.data.splits import (
    TEST,
    TRAIN,
    VALIDATION,
    Part,
)
from tfscale.data.spool import Spool
from tfscale.data.spooling import spool_documents
from tfscale.data.tokenizing import Encoded
from tfscale.data.writing import cores, write_splits, write_tokens
from tfscale.errors import DataError
from tfscale.files.folders import atomic_directory, claim_directory
from tfscale.terminal import note, print
from tfscale.text.cleaning import Cleaner
from tfscale.text.corpora import check_texts
from tfscale.text.reader import ReadCounts
from tfscale.text.tokenizers import Tokenizer, load_tokenizer, train_tokenizer
from tfscale.text.tokenizers.training import AUTOMATIC_SIZE, trainable_kind
from tfscale.text.tokenizers.training_options import TrainingOptions

_MUCH_UNKNOWN = 0.05
"""Share of unknown tokens above which perplexity says little about the text."""
_NOT_IN_MANIFEST = ("output", "processes")
"""Options that do not change what is written."""


def prepare(
    config: PrepareConfig, progress: bool = True, texts: Iterable[object] | None = None
) -> Manifest:
    """Writes a data folder: token shards of each split, the tokenizer, and the manifest.

    The same text, options and seed give the same bytes, whatever the number of processes. The
    folder appears, or replaces an earlier one, when all is done.

    Args:
        config: the text and what to make of it.
        progress: whether to show documents, tokens per second and remaining time on stderr.
        texts: the documents of the training text, where they are not in files; see
            `tfscale.text.given.given_texts`.

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
    sources = find_sources(config)
    check_texts(itertools.chain.from_iterable(sources.values()), reading_of(config, ReadCounts()))
    tokenizer = load_tokenizer(config.tokenizer_from) if config.tokenizer_from else None
    if tokenizer is None:
        # Refused before anything is read.
        options = TrainingOptions(config.seed, config.sentencepiece_model, config.word_segmenter)
        trainable_kind(config.tokenizer).check_training(options)
    cleaner = _cleaner(config, tokenizer, progress)
    processes = config.processes or cores()
    selection = Selection(config, cleaner, processes, progress) if is_asked_for(config) else None
    with atomic_directory(config.output) as directory:
        spool_path = os.path.join(directory, "documents.spool")
        spool, counts = spool_documents(
            config, sources, texts, cleaner, selection, spool_path, progress
        )
        if tokenizer is None:
            tokenizer = _train(config, spool, progress)
            tokenizer.cleaner = cleaner
        totals = write_tokens(directory, tokenizer, spool, processes, progress)
        _check_splits(config, totals)
        dtype = token_dtype(tokenizer.vocabulary_size)
        splits = write_splits(directory, totals, dtype, config.shards, processes, progress)
        given = {k: value for k, value in to_dict(config).items() if k not in _NOT_IN_MANIFEST}
        how = given | dataclasses.asdict(cleaner) | (selection.described if selection else {})
        if texts is not None:
            how["texts"] = "given by a Python program"
        manifest = Manifest.of(tokenizer, splits, how, counts)
        manifest.save(directory)
        if selection and config.report:
            write_report(directory, manifest, selection.statistics)
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
