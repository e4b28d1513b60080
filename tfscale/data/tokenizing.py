"""Tokenizes the spooled documents, in this process or in several.

The result does not depend on how many.

The processes read the spool themselves and load nothing but the tokenizer: what goes through the
pipes is a pair of offsets one way and two bytes a token the other way.
"""

import collections
import contextlib
import importlib
import os
import pickle
import queue
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from tfscale.data.manifest import token_dtype
from tfscale.data.splits import Part
from tfscale.data.spool import Batch, Spool
from tfscale.errors import TfscaleError
from tfscale.registry import module_of
from tfscale.text.tokenizers import Tokenizer, load_tokenizer

_SMALL = 8 << 20
"""Bytes of text below which starting processes takes longer than the work."""


@dataclass
class Encoded:
    """Tokens of one part in one batch.

    Attributes:
        documents: documents that end in it.
        tokens: their number, end tokens included.
        utf8_bytes, unknown_tokens, lost_bits: of the text, see `tfscale.score.ScoredText`.
        content: little-endian tokens.
    """

    documents: int = 0
    tokens: int = 0
    utf8_bytes: int = 0
    unknown_tokens: int = 0
    lost_bits: float = 0.0
    content: bytes = field(default=b"", repr=False)


class BatchEncoder:
    """Tokenizes batches of a spool.

    Args:
        tokenizer: the tokenizer.
        spool: where the documents are.
    """

    def __init__(self, tokenizer: Tokenizer, spool: Spool):
        self._tokenizer = tokenizer
        self._spool = spool
        self._dtype = np.dtype(token_dtype(tokenizer.vocabulary_size)).newbyteorder("<")

    def __call__(self, batch: Batch) -> dict[Part, Encoded]:
        """Returns the tokens of each part that has documents in the batch."""
        pieces = list(self._spool.pieces(batch))
        texts = [piece.content.decode("utf-8") for piece in pieces]
        ids = self._tokenizer.encode_arrays(texts)
        if self._tokenizer.special.leading_space:
            for number, piece in enumerate(pieces):
                if not piece.first:
                    ids[number] = np.array(
                        self._tokenizer.encode_continued(texts[number]), np.int32
                    )
        end = np.array([self._tokenizer.end_id], np.int32)
        # Documents may be lines of a few tokens: what is done for each of them is kept to the
        # appends.
        arrays: dict[Part, list[np.ndarray]] = collections.defaultdict(list)
        documents: Counter[Part] = Counter()
        texts_of: dict[Part, list[str]] = collections.defaultdict(list)
        for piece, text, piece_ids in zip(pieces, texts, ids, strict=True):
            part = Part(piece.split, piece.source)
            of_part = arrays[part]
            of_part.append(piece_ids)
            if piece.last:
                of_part.append(end)
                documents[part] += 1
            texts_of[part].append(text)
        result = {}
        for part, of_part in arrays.items():
            tokens = np.concatenate(of_part).astype(self._dtype)
            measured = self._tokenizer.measured(texts_of[part], tokens)
            result[part] = Encoded(documents[part], len(tokens), *measured, tokens.tobytes())
        return result


class _Worker:
    """A process that tokenizes.

    It is started by itself and not by `multiprocessing`, which would run the user's script anew in
    every process: that takes seconds where the script imports TensorFlow, and fails where it has no
    `if __name__ == "__main__":`.

    Args:
        module: its import registers the kind of the tokenizer.
        tokenizer_dir: where the tokenizer was saved.
        spool: the documents.
    """

    def __init__(self, module: str, tokenizer_dir: str, spool: Spool):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            "PYTHONSAFEPATH": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        # In a session of its own Ctrl-C does not reach it; it ends when its input is closed,
        # whatever happens here.
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import _serve; _serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout
        self._send((module, tokenizer_dir, spool))

    def __call__(self, batch: Batch) -> dict[Part, Encoded]:
        self._send(batch)
        try:
            return pickle.load(self._output)
        except EOFError as error:
            raise self._died() from error

    def _send(self, message: object) -> None:
        try:
            pickle.dump(message, self._input)
            self._input.flush()
        except OSError as error:
            raise self._died() from error

    def _died(self) -> TfscaleError:
        return TfscaleError(
            f"a process that tokenizes ended with exit code {self._process.wait()} (out of"
            " memory?); --processes 1 tokenizes without others"
        )

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(OSError):
            self._input.close()
        self._output.close()
        self._process.wait()


def _serve() -> None:
    """Tokenizes the batches that it reads from its standard input, in a `_Worker`'s process."""
    # Nothing that a library prints may get among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    module, tokenizer_dir, spool = pickle.load(requests)
    importlib.import_module(module)
    encoder = BatchEncoder(load_tokenizer(tokenizer_dir), spool)
    while True:
        try:
            batch = pickle.load(requests)
        except EOFError:
            return
        try:
            pickle.dump(encoder(batch), answers)
            answers.flush()
        except BrokenPipeError:
            return


def encode_batches(
    tokenizer: Tokenizer,
    tokenizer_dir: str,
    spool: Spool,
    processes: int,
    small: int = _SMALL,
) -> Iterator[dict[Part, Encoded]]:
    """Tokenizes all batches, in order.

    Args:
        tokenizer: the tokenizer, for this process.
        tokenizer_dir: where it was saved, for the others.
        spool: the documents.
        processes: how many processes; 1 stays in this one.
        small: bytes of documents up to which the work stays in this process, too.

    Raises:
        TfscaleError: a process died.
    """
    module = module_of(type(tokenizer))
    # Other processes know a kind only if a module that they can import registers it.
    batches = spool.batches
    if processes == 1 or module is None or not batches or batches[-1].end < small:
        yield from map(BatchEncoder(tokenizer, spool), batches)
        return
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def encode(batch: Batch) -> dict[Part, Encoded]:
        worker = idle.get()
        try:
            return worker(batch)
        finally:
            idle.put(worker)

    with contextlib.ExitStack() as stack:
        for _ in range(min(processes, len(batches))):
            worker = _Worker(module, tokenizer_dir, spool)
            stack.callback(worker.close)
            idle.put(worker)
        pool = ThreadPoolExecutor(processes)
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting: deque[Future[dict[Part, Encoded]]] = deque()
        for batch in batches:
            waiting.append(pool.submit(encode, batch))
            # Bounded, so that a slow disk does not fill the memory with tokens.
            if len(waiting) > 3 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
