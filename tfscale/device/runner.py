"""A model of the next token on the device: generates, scores and times.

It needs NumPy, ai-edge-litert and the library of the tokenizer. This is what runs on a Raspberry
Pi, and what an app for another platform does by hand: `tfscale.device.decoder` describes the
signatures of a file.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

import numpy as np

from tfscale.config import SamplingConfig
from tfscale.device.bench import Benchmark, peak_rss_bytes, read_bandwidth, time_decoder
from tfscale.device.decoder import LiteRTDecoder
from tfscale.device.embedder import NO_STATES, Embedder
from tfscale.device.model import Ability, ExportedFile, ExportedModel, ids_to_score
from tfscale.device.session import Session
from tfscale.device.suggest import Suggestion, suggest
from tfscale.device.turns import DeviceDecoder, Turn, Turns
from tfscale.errors import ConfigError, ExportError, TokenizerError
from tfscale.evaluation.continuations import Continuation, Progress, Scored, scored
from tfscale.files.description import METADATA_FILE, Description
from tfscale.inference.generation import Generation, generate, stream
from tfscale.inference.text_windows import Pooling
from tfscale.text.score import Score, reading_starts, token_nll
from tfscale.text.tokenizers import Tokenizer


class DeviceModel(ExportedModel):
    """An exported model of the next token with its tokenizer; made by `tfscale.device.load`.

    It holds one text at a time. Calls from several threads wait for each other; a stream or a
    decoder that another call overtook raises `OvertakenError`. Texts that are written side by
    side need a model each.
    """

    abilities: frozenset[Ability] = frozenset({"generate", "score", "choose", "benchmark"})
    tokenizer: Tokenizer

    def __init__(
        self,
        path: str,
        decoder: DeviceDecoder,
        tokenizer: Tokenizer,
        description: Description,
        threads: int,
        session: Session | None = None,
    ):
        super().__init__(path, tokenizer, description, threads)
        self._decoder = decoder
        self._turns = Turns(decoder)
        self._session = session
        self._embedder: Embedder | None = None
        if description.embedding is not None:
            self.abilities = self.abilities | {"embed"}

    @classmethod
    def open(cls, file: ExportedFile) -> "DeviceModel":
        """Loads a .tflite file with the signatures that `tfscale.device.decoder` describes."""
        file.check_tflite()
        tokenizer = file.tokenizer()
        decoder = LiteRTDecoder(file.path, file.threads, file.xnnpack)
        if tokenizer.vocabulary_size > decoder.vocabulary_size:
            raise TokenizerError(
                f"{file.path} knows {decoder.vocabulary_size} tokens and the tokenizer beside it"
                f" has {tokenizer.vocabulary_size}; they do not belong together"
            )
        return cls(file.path, decoder, tokenizer, file.description, file.threads, decoder.session)

    @property
    def sequence_length(self) -> int | None:
        """Tokens of a scoring window: the length of the training windows, if it is known."""
        return self.description.window or self._decoder.context_length

    @property
    def context_length(self) -> int | None:
        """Most tokens that it reads; None without bound."""
        return self._decoder.context_length

    def decoder(self) -> Turn:
        """Returns the decoder, reset; a model has one, which holds one sequence at a time.

        Its `feed` raises `OvertakenError` once another text was begun on this model.
        """
        return self._turns.take()

    def generate(
        self,
        prompt: str,
        max_tokens: int = 64,
        sampling: SamplingConfig | None = None,
        stop: Sequence[str] = (),
        on_text: Callable[[str], None] | None = None,
        parse_special: bool = False,
    ) -> Generation:
        """Completes `prompt`; see `tfscale.inference.generation.generate`.

        Other threads wait until it is done.
        """
        with self._turns.lock:
            return generate(
                self.decoder(),
                self.tokenizer,
                prompt,
                max_tokens,
                sampling,
                stop,
                on_text,
                parse_special,
            )

    def stream(
        self,
        prompt: str,
        max_tokens: int = 64,
        sampling: SamplingConfig | None = None,
        stop: Sequence[str] = (),
        parse_special: bool = False,
    ) -> Iterator[str]:
        """Completes `prompt` piece by piece; see `tfscale.inference.generation.stream`.

        The model holds one text at a time: once another call has begun one, asking for the next
        piece raises `OvertakenError`.

        Example:
            for piece in model.stream("def main("):
                print(piece, end="", flush=True)
        """
        # It takes its turn when the first piece is asked for.
        return stream(
            Turn(self._turns), self.tokenizer, prompt, max_tokens, sampling, stop, parse_special
        )

    def suggest(self, text: str, count: int = 3) -> list[Suggestion]:
        """Returns the most likely next words, or endings of the word that the text stops in.

        See `tfscale.device.suggest`.
        """
        with self._turns.lock:
            return suggest(self.decoder(), self.tokenizer, text, count)

    def score(
        self,
        text: str | Sequence[int],
        utf8_bytes: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Score:
        """Returns the likelihood of a text as Keras evaluation computes it, one token at a time.

        The tokens are cut into windows of `sequence_length`; each starts from nothing but the token
        before it (the start token before the first of a document), and every token is predicted
        once. A stateful model carries its state over the whole text, cut where
        `tfscale.text.score.stream_starts` says. One that was trained with `document_mask` begins
        anew at each document too.

        Args:
            text: one document, cleaned here as the model's text was, whose end token is scored too;
                or the ids of a stream as they are.
            utf8_bytes: bytes that the ids stand for; has no effect where a text is given.
            progress: is called with the tokens done and the tokens in all, after each window.

        Raises:
            DataError: there is no token, or an id that the model does not have.
        """
        vocabulary_size = self._decoder.vocabulary_size
        ids, known = ids_to_score(self.tokenizer, text, utf8_bytes, vocabulary_size)
        length = self.sequence_length
        if length is None:
            raise ExportError(
                f"{self.path} cannot be scored: {METADATA_FILE}, which names the window, is not"
                " beside it"
            )
        inputs = self.tokenizer.as_inputs([self.tokenizer.end_id, *ids[:-1]]).tolist()
        starts = set(
            reading_starts(
                inputs,
                length,
                carries=self.description.model.get("stateful", False),
                document_start=self.tokenizer.start_id if self.description.document_mask else None,
            )
        )
        nll = 0.0
        with self._turns.lock:
            decoder = self.decoder()
            for position, (token, target) in enumerate(zip(inputs, ids, strict=True)):
                if position in starts:
                    decoder.reset()
                nll += float(token_nll(decoder.feed([token]), np.array(target)))
                done = position + 1
                if progress is not None and (done % length == 0 or done == len(ids)):
                    progress(done, len(ids))
            decoder.reset()
        return Score(nll, len(ids)).of(known)

    def score_continuations(
        self, rows: Sequence[Continuation], progress: Progress | None = None
    ) -> list[Scored]:
        """Returns the likelihood of each continuation, in order; each must fit into the context.

        What follows the same context in a row reads that context once.
        """
        results: list[Scored] = []
        with self._turns.lock:
            decoder = self.decoder()
            for context, following in itertools.groupby(rows, lambda row: row.context):
                decoder.reset()
                first, mark = decoder.feed(context), decoder.mark()
                for row in following:
                    decoder.back_to(mark)
                    logits = [first, *(decoder.feed([token]) for token in row.tokens[:-1])]
                    results.append(scored(np.stack(logits), row.tokens))
                if progress is not None:
                    progress(len(results), len(rows))
            decoder.reset()
        return results

    def embed(
        self,
        texts: str | Sequence[str],
        pooling: Pooling = "mean",
        note: Callable[[str], None] | None = None,
    ) -> np.ndarray:
        """Returns a vector for each text, from the hidden states at its tokens.

        They are those of the network, as near as the recipe of the file allows. A text that is
        being written goes on. Another thread that asks the model for something waits for the part
        of a text that is being read, which is at most one context.

        Args:
            texts: one or more, none of which is empty; a string is one of them.
            pooling: mean, over the tokens of a text, or last, the state of its last token.
            note: is called with a line that says how many texts are longer than the context.

        Returns:
            float32 (N, D).

        Raises:
            ConfigError: the file was exported without `embedding`.
            DataError: there is no text, or one without a token.

        Example:
            tfscale.device.load("export").embed(["the cat sat"], pooling="last").shape    # (1, 256)
        """
        if pooling not in get_args(Pooling):
            raise ConfigError(f"pooling: expected mean or last; received {pooling!r}")
        described = self.description.format_version > 0
        if self._session is None or (described and self.description.embedding is None):
            raise ConfigError(f"{self.path} {NO_STATES}")
        given = [texts] if isinstance(texts, str) else texts
        with self._turns.lock:
            if self._embedder is None:
                self._embedder = Embedder(self._session, self._turns.lock, self.path)
        return self._embedder.embed(self.tokenizer, given, pooling, note)

    def bytes_per_token(self) -> int | None:
        """Returns the bytes that a decode step reads; None where model.json does not say.

        They are those of the weights and of the caches.
        """
        weights = self.description.bytes_per_token
        if weights is None:
            return None
        caches = (self.description.cache or {}).values()
        return weights + 4 * sum(math.prod(shape) for shape in caches)

    def benchmark(self, tokens: int = 128, repeats: int = 3, prompt_tokens: int = 64) -> Benchmark:
        """Times the model on this machine.

        Args:
            tokens: tokens to decode.
            repeats: timed repetitions; medians are returned.
            prompt_tokens: tokens of the prompt.

        Returns:
            What `tfscale.device.bench.time_decoder` returns, and `threads`, `file_bytes`,
            `peak_rss_bytes` (of this process; None where the system does not report it),
            `bytes_per_token`, and with it `bandwidth_bytes_per_second`, the speed of reading as
            many bytes on this machine with one thread, and `bandwidth_bound_tokens_per_second`: no
            decoder that reads every weight for every token is faster on one core.
        """
        with self._turns.lock:
            timing = time_decoder(
                self.decoder(), self._decoder.vocabulary_size, tokens, repeats, prompt_tokens
            )
        peak = peak_rss_bytes()  # Without what is read below to learn the memory's speed.
        read = self.bytes_per_token()
        bandwidth = None if read is None else read_bandwidth(read)
        return {
            **timing,
            "bytes_per_token": read,
            "bandwidth_bytes_per_second": bandwidth,
            "bandwidth_bound_tokens_per_second": (
                None if bandwidth is None or read is None else bandwidth / read
            ),
            "threads": self.threads,
            "file_bytes": os.path.getsize(self.path),
            "peak_rss_bytes": peak,
        }
