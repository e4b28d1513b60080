"""`Documents`: the documents of a window, kept apart.

A window is a piece of the stream d1 END d2 END ...; its inputs are the tokens just before its
targets. So an END among the inputs, or the start token that stands for it, begins a document: what
comes before it belongs to others. The rest of a document that began in an earlier window is one by
itself.

    inputs      c   d   END a   b   END e
    segments    0   0   1   1   1   2   2
    places      0   1   0   1   2   0   1

In a packed row (`tfscale.data.packing`) a piece from within a document may stand after the end of
another one. It begins with the token before its first target, which does not say so; the END among
the targets does.

    inputs      END a   b   x   y
    targets     a   b   END y   z
    segments    1   1   1   2   2

Shapes: B rows, T tokens.
"""

import dataclasses
from dataclasses import dataclass

import tensorflow as tf
from keras import ops

from tfscale.config.step import DocumentPositions, StepOptions


@dataclass(frozen=True)
class Documents:
    """Says where documents begin, for networks that keep them apart.

    Attributes:
        start_id: the input that begins a document, and belongs to it.
        positions: whether a table of positions counts anew in each document, or on through the
            window.
        end_id: the target that ends a document, for packed rows; None where what comes after a
            document begins with `start_id`.
        after_end: (B, T) bool, the inputs before which a document ended; see `beside`.

    Example:
        apart = Documents(start_id=1)
        network.hidden_states(ids, documents=apart)
    """

    start_id: int
    positions: DocumentPositions = "restart"
    end_id: int | None = None
    after_end: tf.Tensor | None = None

    def beside(self, targets: tf.Tensor) -> "Documents":
        """Returns what it is for the inputs beside some targets (B, T)."""
        if self.end_id is None:
            return self
        ends = tf.equal(targets[:, :-1], tf.cast(self.end_id, targets.dtype))
        return dataclasses.replace(self, after_end=tf.pad(ends, [[0, 0], [1, 0]]))

    def begins(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns which inputs begin a document: ids (B, T) -> (B, T) bool."""
        begins = tf.equal(ids, tf.cast(self.start_id, ids.dtype))
        return begins if self.after_end is None else begins | self.after_end

    def segments(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns the number of each input's document in its row: ids (B, T) -> (B, T) int32."""
        # A running sum, as a product: XLA would compute `tf.cumsum` anew wherever it is looked at,
        # for each query and key, and this once.
        length = ops.shape(ids)[1]
        so_far = tf.linalg.band_part(tf.ones((length, length)), 0, -1)
        return tf.cast(tf.matmul(tf.cast(self.begins(ids), tf.float32), so_far), tf.int32)


def places(segments: tf.Tensor) -> tf.Tensor:
    """Returns how many tokens of its document stand before each one.

    Args:
        segments: (B, T) int32, as `Documents.segments` gives them.

    Returns:
        (B, T) int32.
    """
    # Numbers only grow along a row, so the first place that is not below a number begins it.
    return tf.range(tf.shape(segments)[1]) - tf.searchsorted(segments, segments)


def documents_of(
    options: StepOptions, start_id: int | None, end_id: int | None = None
) -> Documents | None:
    """Returns how the options of a training keep documents apart; None where they do not.

    Args:
        options: those of a step, a compilation or a run.
        start_id: what the network reads before each document; None only where they do not.
        end_id: the target that ends each document, for packed rows.
    """
    if not options.document_mask:
        return None
    assert start_id is not None
    return Documents(start_id, options.document_positions, end_id)


def apart(documents: Documents | None, targets: tf.Tensor) -> dict[str, Documents]:
    """Returns the keyword argument of `hidden_states` and `carry`: none for networks that are not
    asked to keep documents apart, which need not take it.

    Args:
        documents: where documents begin; None does not keep them apart.
        targets: (B, T), beside which the inputs are.
    """
    return {} if documents is None else {"documents": documents.beside(targets)}
