"""`TokenTask`: tasks that label tokens of a text, which tagging and answering share."""

import abc
from typing import TYPE_CHECKING

import numpy as np

from tfscale.tasks.examples import Example
from tfscale.tasks.task import Task
from tfscale.tasks.values import Encoded

if TYPE_CHECKING:
    import keras

    from tfscale.tasks.network import HeadOptions


class TokenTask(Task):
    """A task whose logits are (T, C), one label for each token; those at `Encoded.places` count.

    A subclass implements `token_targets` besides the methods of `Task`.
    """

    @abc.abstractmethod
    def token_targets(self, example: Example, encoded: Encoded) -> list[int]:
        """Returns the label's number of each of the encoded places.

        Raises:
            DataError: a label that the model does not have.
        """

    def targets(self, example: Example, encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
        targets = np.zeros(self.sequence_length, np.int32)
        weights = np.zeros(self.sequence_length, np.float32)
        targets[encoded.places] = self.token_targets(example, encoded)
        weights[encoded.places] = 1
        return targets, weights

    @classmethod
    def head(
        cls,
        features: "keras.KerasTensor",
        ids: "keras.KerasTensor",
        options: "HeadOptions",
        dtype: "keras.DTypePolicy",
    ) -> "keras.KerasTensor":
        from tfscale.tasks.network import token_head

        return token_head(features, options, dtype)

    @property
    def logits_shape(self) -> tuple[int, int]:
        return self.sequence_length, len(self.labels)
