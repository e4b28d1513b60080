"""The text that a model is for: the tokens that it never has, and the run and its data without
them.

The smaller run and data are made once, in the folder of the search: `trimmed/run`, from which
candidates with a smaller vocabulary are exported, and `trimmed/data`, the run's documents in the
tokens that are left, on which they are trained.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from tfscale.compress.vocabulary import trim_tokenizer, write_trimmed
from tfscale.data.manifest import MANIFEST_FILE
from tfscale.data.retokenize import retokenize, whole_characters
from tfscale.errors import DataError
from tfscale.runs.folder import Run, load_run
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.reader import DocumentKind, Reading
from tfscale.text.tokenizers import Tokenizer
from tfscale.workflows.search.candidates import Trimming
from tfscale.workflows.search.measure import Sample, Samples


@dataclass(frozen=True)
class Target:
    """A target text.

    Attributes:
        digest: SHA-256 of its documents.
        sample: its beginning, to score files on.
        tokenizer: the run's without the tokens that the text never has; None if it has them all.
        kept: the old ids of the tokens that stay.
        tokens: its length in the run's tokens and in those that stay.
    """

    digest: str
    sample: Sample
    tokenizer: Tokenizer | None
    kept: Sequence[int]
    tokens: tuple[int, int]

    def trimming(self, own: Tokenizer, samples: Samples) -> tuple[Trimming, Samples]:
        """Returns the size and the worth of a trimmed vocabulary, and the texts in its tokens.

        Worth is how much shorter the held-out text is in the run's own tokens: 1 where only tokens
        are removed that it hardly has, little where much of it has to be spelled.
        """
        assert self.tokenizer is not None
        cut = samples.cut_by(own, self.tokenizer)
        return (
            Trimming(
                self.tokenizer.vocabulary_size, samples.held_out.counted / len(cut.held_out.tokens)
            ),
            cut,
        )


def read_target(
    files: Sequence[str], documents: DocumentKind, tokenizer: Tokenizer, count: int
) -> Target:
    """Reads the target text.

    Args:
        files: files, folders or globs.
        documents: what one document is; that of the data, since a model of lines has never seen a
            line end.
        tokenizer: the run's.
        count: the most tokens to score files on.

    Raises:
        TokenizerError: a tokenizer from which no tokens can be removed.
        DataError: the text is missing, empty or not UTF-8.
    """
    tokenizer.removable([])  # Refused before a long text is read.
    read = read_documents(find_text(files), Reading(documents=documents))
    texts = [text for text in map(tokenizer.cleaner, read) if text]
    if not texts:
        raise DataError(
            f"the target text is empty: {', '.join(files)}; give a sample of the text that the"
            " model is for"
        )
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode()
        digest.update(f"{len(content)}\n".encode() + content)
    stream = [id for ids in tokenizer.encode_batch(texts) for id in [*ids, tokenizer.end_id]]
    tokens = whole_characters(stream[:count], tokenizer)
    sample = Sample(tokens, len(tokenizer.decode(tokens).encode()), len(tokens))
    if not tokenizer.removable(stream):
        return Target(
            digest.hexdigest(),
            sample,
            None,
            range(tokenizer.vocabulary_size),
            (len(stream), len(stream)),
        )
    trimmed, kept = trim_tokenizer(tokenizer, stream)
    after = sum(len(ids) + 1 for ids in trimmed.encode_batch(texts))
    return Target(digest.hexdigest(), sample, trimmed, kept, (len(stream), after))


def trimmed_run(run: Run, target: Target, output: str) -> Run:
    """Returns the run without the removed tokens, made if the folder of the search does not have
    it."""
    folder = run_folder(output)
    if not os.path.exists(os.path.join(folder, "config.yaml")):
        assert target.tokenizer is not None
        write_trimmed(run, target.tokenizer, target.kept, folder, target.tokens)
    return load_run(folder)


def trimmed_data(data: str, target: Target, output: str) -> str:
    """Returns the documents of a data folder in the tokens that are left, made if the folder of the
    search does not have it."""
    assert target.tokenizer is not None
    folder = os.path.join(output, "trimmed", "data")
    if not os.path.exists(os.path.join(folder, MANIFEST_FILE)):
        retokenize(data, target.tokenizer, folder)
    return folder


def run_folder(output: str) -> str:
    """Returns the folder of the trimmed run of a search."""
    return os.path.join(output, "trimmed", "run")
