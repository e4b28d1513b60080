"""How fast text becomes tokens: the library alone, tfscale's tokenization stage, and `tfscale
prepare` as a whole.

    python -m benchmarks.prepare_side library --text FILE --tokenizer DIR [--documents line]
    python -m benchmarks.prepare_side stage --text FILE --tokenizer DIR [--documents line]
    python -m benchmarks.prepare_side whole --text FILE --tokenizer DIR [--documents line]

`library` times one call of SentencePiece's own batch encoding of documents that are in memory, in
one thread: to lists, which is faster for short documents, and to NumPy arrays, which is faster for
long ones; the faster one counts. `stage` times what `prepare` does between
the spooled documents and the files of tokens, in one process: read the spool, decode UTF-8, encode,
cast, add end tokens, write. `whole` times `prepare` with a given tokenizer on all cores: read,
split, spool, start processes, encode, write compressed shards and their digests; its figure is per
core. All three count the library's tokens, without end tokens.
"""

import argparse
import json
import os
import tempfile
import time
from typing import get_args

import sentencepiece

from tfscale.config import PrepareConfig
from tfscale.data.splits import Borders
from tfscale.data.spool import SpoolWriter
from tfscale.data.tokenizing import encode_batches
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.reader import DocumentKind, Reading
from tfscale.text.tokenizers import load_tokenizer


def documents_of(path: str, kind: DocumentKind) -> list[str]:
    """The documents of a file."""
    return list(read_documents(find_text([path]), Reading(documents=kind)))


def library(text: str, tokenizer: str, kind: DocumentKind) -> tuple[int, float]:
    """Tokens, and seconds of SentencePiece's batch encoding."""
    processor = sentencepiece.SentencePieceProcessor(
        model_file=os.path.join(tokenizer, "tokenizer.model")
    )
    documents = documents_of(text, kind)
    tokens, times = 0, []
    for return_type in (int, "numpy") if hasattr(processor, "EncodeAsNumpy") else (int,):
        began = time.perf_counter()
        ids = processor.encode(documents, num_threads=1, return_type=return_type)
        times.append(time.perf_counter() - began)
        tokens = sum(map(len, ids))
    return tokens, min(times)


def stage(text: str, tokenizer_dir: str, kind: DocumentKind) -> tuple[int, float]:
    """Tokens, and seconds of the tokenization stage in this process."""
    tokenizer = load_tokenizer(tokenizer_dir)
    documents = documents_of(text, kind)
    with tempfile.TemporaryDirectory() as folder:
        spool_path = os.path.join(folder, "documents.spool")
        with SpoolWriter(spool_path) as writer:
            for document in documents:
                writer.add(document, place=0)
        everything_is_train = Borders(test=0, validation=0)
        spool = writer.spool(everything_is_train)
        began = time.perf_counter()
        tokens = 0
        results = encode_batches(tokenizer, tokenizer_dir, spool, processes=1)
        with open(os.path.join(folder, "train.tokens"), "wb") as file:
            for result in results:
                for encoded in result.values():
                    tokens += encoded.tokens
                    file.write(encoded.content)
        seconds = time.perf_counter() - began
    return tokens - len(documents), seconds


def whole(text: str, tokenizer: str, kind: DocumentKind) -> tuple[int, float]:
    """Tokens, and seconds of `prepare` times the cores that it used."""
    from tfscale.data.prepare import prepare

    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with tempfile.TemporaryDirectory() as folder:
        config = PrepareConfig(
            text=[text],
            documents=kind,
            tokenizer_from=tokenizer,
            processes=cores,
            output=os.path.join(folder, "data"),
        )
        began = time.perf_counter()
        splits = prepare(config, progress=False).splits.values()
        seconds = time.perf_counter() - began
    return sum(split.tokens - split.documents for split in splits), seconds * cores


TASKS = {"library": library, "stage": stage, "whole": whole}


def main() -> None:
    """Runs the task that is named, and prints its rate as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--text", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--documents", choices=get_args(DocumentKind), default="paragraph")
    options = parser.parse_args()
    tokens, seconds = TASKS[options.task](options.text, options.tokenizer, options.documents)
    print(json.dumps({"tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds}))


if __name__ == "__main__":
    main()
