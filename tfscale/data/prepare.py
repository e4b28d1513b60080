"""From raw text to a data folder.

Reads, cleans and splits text, trains a tokenizer, tokenizes, writes shards and the manifest.
"""

import dataclasses
import itertools
from collections.abc import Iterable

from tfscale.config import PrepareConfig, to_dict
from tfscale.data.engine import Task
from tfscale.data.manifest import MANIFEST_FILE, Manifest
from tfscale.data.quality.report import write_report
from tfscale.data.quality.selection import Selection, is_asked_for
from tfscale.data.sources import find_sources, reading_of
from tfscale.data.writing import cores
from tfscale.files.folders import atomic_directory, claim_directory
from tfscale.registry import ENGINES
from tfscale.terminal import note
from tfscale.text.cleaning import Cleaner
from tfscale.text.corpora import check_texts
from tfscale.text.reader import ReadCounts
from tfscale.text.tokenizers import Tokenizer, load_tokenizer
from tfscale.text.tokenizers.training import trainable_kind
from tfscale.text.tokenizers.training_options import TrainingOptions

_MUCH_UNKNOWN = 0.05
"""Share of unknown tokens above which perplexity says little about the text."""
_NOT_IN_MANIFEST = ("output", "processes", "engine", "beam")
"""Options that do not change what is written."""


def prepare(
    config: PrepareConfig, progress: bool = True, texts: Iterable[object] | None = None
) -> Manifest:
    """Writes a data folder: token shards of each split, the tokenizer, and the manifest.

    The same text, options and seed give the same bytes, whatever the engine and the number of
    processes. The folder appears, or replaces an earlier one, when all is done.

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
    engine = ENGINES.get(config.engine)()
    engine.check(config, texts)
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
    task = Task(config, sources, texts, tokenizer, cleaner, selection, progress)
    with atomic_directory(config.output) as directory:
        done = engine.write(directory, task)
        given = {k: value for k, value in to_dict(config).items() if k not in _NOT_IN_MANIFEST}
        how = given | dataclasses.asdict(cleaner) | (selection.described if selection else {})
        if texts is not None:
            how["texts"] = "given by a Python program"
        manifest = Manifest.of(done.tokenizer, done.splits, how, done.counts)
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
