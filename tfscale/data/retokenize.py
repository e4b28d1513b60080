"""Encodes the text of a data folder anew, in the tokens of another tokenizer.

A tokenizer that loses nothing gives the documents back.
"""

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tfscale.data.keeping import batches_of
from tfscale.data.manifest import MANIFEST_FILE, Manifest, token_dtype
from tfscale.data.splits import Borders
from tfscale.data.spool import Documents, SpoolWriter
from tfscale.data.tokens import token_blocks
from tfscale.data.writing import cores, write_splits, write_tokens
from tfscale.errors import TokenizerError
from tfscale.files.folders import atomic_directory, claim_directory
from tfscale.text.tokenizers import Tokenizer, load_tokenizer


def retokenize(data_dir: str, tokenizer: Tokenizer, output: str, progress: bool = True) -> Manifest:
    """Writes a data folder of the same documents by another tokenizer.

    Splits and order stay the same.

    Args:
        data_dir: folder that `tfscale prepare` wrote.
        tokenizer: what to encode by.
        output: the folder to write.
        progress: whether to show progress on stderr.

    Returns:
        The manifest of the new folder; its `how` is that of the old one, with `retokenized_from`,
        the digest of the tokenizer by which the documents were decoded.

    Raises:
        TokenizerError: the folder's own tokenizer loses characters, so that its documents are gone.
        DataError: the data folder is damaged, or the output folder is something else.

    Example:
        retokenize("data", load_tokenizer("small"), "data_small").splits["train"].tokens
    """
    manifest = Manifest.load(data_dir, verify="sha256")
    earlier = load_tokenizer(os.path.join(data_dir, "tokenizer"))
    if not earlier.lossless:
        raise TokenizerError(
            f"the {earlier.kind} tokenizer of {data_dir} loses characters; prepare the text"
            " itself anew"
        )
    claim_directory(output, MANIFEST_FILE, "a data folder", key="tokenizer_digest")
    with atomic_directory(output) as directory:
        spool_path = os.path.join(directory, "documents.spool")
        with SpoolWriter(spool_path) as writer:
            for split, described in manifest.splits.items():
                # A document may begin in one shard and end in the next one, of the same source.
                for source in described.sources or [None]:
                    blocks = token_blocks(data_dir, manifest, split, source)
                    for texts in batches_of(documents(blocks, earlier)):
                        writer.add_all(Documents.of(texts, 0), split, source)
        # Borders at 0 leave every document that is not held out already in the training split.
        spool = writer.spool(Borders(0, 0))
        totals = write_tokens(directory, tokenizer, spool, cores(), progress)
        dtype = token_dtype(tokenizer.vocabulary_size)
        splits = write_splits(directory, totals, dtype, 0, cores(), progress)
        how = manifest.how | {"retokenized_from": earlier.digest}
        new = Manifest.of(tokenizer, splits, how, manifest.counts)
        new.save(directory)
    return new


def documents(blocks: Iterable[np.ndarray], tokenizer: Tokenizer) -> Iterator[str]:
    """Yields the texts between the end tokens of a stream, and what comes after the last one."""
    parts: list[np.ndarray] = []
    for block in blocks:
        start = 0
        for end in np.flatnonzero(block == tokenizer.end_id):
            parts.append(block[start:end])
            yield tokenizer.decode(np.concatenate(parts).tolist())
            parts, start = [], int(end) + 1
        parts.append(block[start:])
    unended = np.concatenate(parts).tolist() if parts else []
    if unended:
        yield tokenizer.decode(unended)


def encode_anew(tokens: Sequence[int], own: Tokenizer, other: Tokenizer) -> list[int]:
    """Returns the text of tokens in those of another tokenizer, end tokens kept.

    Args:
        tokens: a stream that ends with a whole character; see `whole_characters`.
        own: the tokenizer that made it.
        other: the one to encode by.
    """
    texts = list(documents([np.array(tokens, np.int64)], own))
    ids = [id for part in other.encode_batch(texts) for id in [*part, other.end_id]]
    return ids if tokens[-1] == own.end_id else ids[:-1]


def whole_characters(tokens: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """Returns the tokens without the last ones if these are a part of a character."""
    kept = list(tokens)
    content = [b"" if id == tokenizer.end_id else tokenizer.token_bytes(id, None) for id in kept]
    while kept:
        try:
            b"".join(content).decode("utf-8")
        except UnicodeDecodeError:
            del kept[-1], content[-1]
        else:
            break
    return kept
