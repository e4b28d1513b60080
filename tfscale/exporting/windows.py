"""Held-out tokens in windows, with the logits of the network that a file is compared with.

Shapes: T tokens of a window, N tokens of a part of it, D width of the hidden states, V vocabulary.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfscale.data.pipeline import text_windows
from tfscale.exporting.tflite import DecodingNetwork
from tfscale.models.capability import capabilities
from tfscale.models.logits import spread
from tfscale.models.network import LanguageNetwork, as_language_network
from tfscale.models.projecting import projection
from tfscale.text.score import Score, token_nll

Projection = Callable[[tf.Tensor], np.ndarray]
_LOGITS = 1 << 22
"""Logits that are in memory at a time."""


class Part(NamedTuple):
    """Some tokens of a window: ids and targets (N,), logits (N, V), and whether the window begins
    with them."""

    ids: np.ndarray
    targets: np.ndarray
    logits: np.ndarray
    begins: bool


def _projection(network: DecodingNetwork) -> Projection | None:
    """Returns the function from hidden states to logits; None for a model that has none."""
    if not capabilities(network).has_hidden_states:
        return None
    ours = as_language_network(network)
    if ours is None:
        own = cast(LanguageNetwork, network)  # It has the methods that it says it has.
        return lambda hidden: np.asarray(own.project(hidden), np.float32)
    axes = ours.vocabulary_axes()
    outputs = [(weight, axes[weight.path]) for weight in ours.output_variables]
    return projection(ours.project, outputs, ours.config.vocabulary_size)


class Reading:
    """The logits after each token of a text, computed from kept hidden states when asked for.

    Logits of a large vocabulary take more memory than the network itself. Those of a model that
    does not offer hidden states are kept.

    Args:
        network: computes in float32.
        ids: (T,), at most a window.
        project: what `_projection` gives for the network.
    """

    def __init__(self, network: DecodingNetwork, ids: np.ndarray, project: Projection | None):
        # Whole windows, so that every call has the same shape; what follows a token does not change
        # its logits.
        window = np.full(network.config.sequence_length, ids[0], np.int32)
        window[: len(ids)] = ids
        hidden = (
            network(window[None], training=False)
            if project is None
            else cast(LanguageNetwork, network).hidden_states(window[None])
        )
        self._project, self._kept = project, tf.convert_to_tensor(hidden)[0, : len(ids)]

    def logits(self, start: int, end: int) -> np.ndarray:
        """Returns the logits (N, V) after the tokens from `start` to before `end`."""
        kept = self._kept[start:end]
        return np.asarray(kept, np.float32) if self._project is None else self._project(kept)


class Windows:
    """The held-out tokens, cut as training cuts them, with the network's logits for each window.

    The network is asked again for the logits of each part, so that its weights must stay as they
    are.

    Args:
        reference: a network that computes in float32.
        stream: ids (N,).
        end_id: the token that comes before the first.
        start_id: what is read instead of it; None for the end token itself.
        document_mask: cut the windows where documents begin, so that each is read by itself.
    """

    def __init__(
        self,
        reference: DecodingNetwork,
        stream: np.ndarray,
        end_id: int,
        start_id: int | None = None,
        document_mask: bool = False,
    ):
        self.reference = reference
        inputs, targets, weights = text_windows(
            stream, reference.config.sequence_length, end_id, start_id
        )
        counts = (weights > 0).sum(axis=1)
        self.inputs = [row[:count] for row, count in zip(inputs, counts, strict=True)]
        self.targets = [row[:count] for row, count in zip(targets, counts, strict=True)]
        if document_mask:
            begin = end_id if start_id is None else start_id
            cuts = [np.flatnonzero(row[1:] == begin) + 1 for row in self.inputs]
            self.inputs, self.targets = (
                [part for row, cut in zip(rows, cuts, strict=True) for part in np.split(row, cut)]
                for rows in (self.inputs, self.targets)
            )
        self._project = _projection(reference)
        self.readings = [Reading(reference, row, self._project) for row in self.inputs]

    def parts(self) -> Iterator[Part]:
        """Returns all tokens in order, some at a time."""
        step = max(1, _LOGITS // self.reference.config.vocabulary_size)
        for ids, targets, reading in zip(self.inputs, self.targets, self.readings, strict=True):
            for start in range(0, len(ids), step):
                end = min(len(ids), start + step)
                logits = reading.logits(start, end)
                yield Part(ids[start:end], targets[start:end], logits, start == 0)

    def whole(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Returns ids (T,), targets (T,) and logits (T, V) of one window after the other."""
        for ids, targets, reading in zip(self.inputs, self.targets, self.readings, strict=True):
            yield ids, targets, reading.logits(0, len(ids))

    def longest_prompt(self, least: int) -> tuple[list[int], Reading]:
        """Returns the first window, repeated up to `least` tokens, and the logits after each.

        It is cut at the context. With fewer held-out tokens the longest calls that read a prompt
        would not be compared.
        """
        ids, length = self.inputs[0], self.reference.config.sequence_length
        if len(ids) >= min(least, length):
            return ids.tolist(), self.readings[0]
        longer = np.resize(ids, min(least, length))
        return longer.tolist(), Reading(self.reference, longer, self._project)

    @functools.cached_property
    def _measured(self) -> tuple[Score, float]:
        nll = 0.0

        def seen() -> Iterator[np.ndarray]:
            nonlocal nll
            for part in self.parts():
                nll += float(token_nll(part.logits, part.targets).sum())
                yield part.logits

        width = spread(seen())
        return Score(nll, sum(map(len, self.targets))), width

    @property
    def score(self) -> Score:
        """How likely the network finds the tokens."""
        return self._measured[0]

    @property
    def spread(self) -> float:
        """Root mean square of the logits around each token's mean."""
        return self._measured[1]
