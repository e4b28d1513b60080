"""Lends the one decoder of a loaded model to one text at a time.

A decoder holds one sequence: its cache lies in the runtime's buffers. Whoever resets it begins a
text of their own, and a text that was begun before cannot go on, because its cache is gone.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from tfscale.errors import OvertakenError
from tfscale.inference.generation import Decoder

T = TypeVar("T")
Mark: TypeAlias = Any
"""A place in a text, which its decoder alone reads; each has its own."""


class DeviceDecoder(Decoder, Protocol):
    """A decoder that can go back to a place in its text."""

    vocabulary_size: int

    def mark(self) -> Mark:
        """Returns the place reached, for `back_to`."""

    def back_to(self, mark: Mark) -> None:
        """Forgets what was read since a mark that was taken after the last reset."""


class Turns:
    """The turns of a decoder.

    Args:
        decoder: what reads and remembers tokens.

    Example:
        turns = Turns(LiteRTDecoder("export/model.tflite"))
        first, second = turns.take(), turns.take()
        second.feed([7])
        first.feed([7])    # OvertakenError
    """

    def __init__(self, decoder: DeviceDecoder):
        self.decoder = decoder
        self.lock = threading.RLock()
        """Hold it to let no other thread take a turn."""
        self.current: Turn | None = None

    def take(self) -> "Turn":
        """Returns a new turn, with the decoder reset."""
        turn = Turn(self)
        turn.reset()
        return turn


class Turn:
    """A decoder that can be used until another turn begins; `reset` begins a new one.

    Sizes, such as `context_length` and `prefill_lengths`, are those of the decoder.
    """

    def __init__(self, turns: Turns):
        self._turns = turns

    # Its type is that of the decoder's attribute.
    def __getattr__(self, name: str) -> Any:
        value = getattr(self._turns.decoder, name)
        return self._guarded(value) if callable(value) else value

    def reset(self) -> None:
        """Forgets all tokens; turns that were taken before are over."""
        with self._turns.lock:
            self._turns.current = self
            self._turns.decoder.reset()

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Reads `ids` after those read before in this turn; returns the logits (V,) after the last
        one.

        Raises:
            OvertakenError: another text was begun on the same model.
        """
        return self._guarded(self._turns.decoder.feed)(ids)

    def _guarded(self, method: Callable[..., T]) -> Callable[..., T]:
        def call(*arguments: object, **options: object) -> T:
            with self._turns.lock:
                if self._turns.current is not self:
                    raise OvertakenError(
                        "another text was begun on this model, which holds one at a time; finish"
                        " one before the next, or load the model once for each: tfscale.device.load"
                    )
                return method(*arguments, **options)

        return call
