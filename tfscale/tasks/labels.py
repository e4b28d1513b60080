"""`Labelled`: the labels of a task, from its training examples to the classes of its logits.

Shapes: P predictions of an example, C labels.
"""

from collections.abc import Sequence

import numpy as np

from tfscale.config.tasks import TaskConfig
from tfscale.errors import DataError
from tfscale.tasks.examples import Example
from tfscale.tasks.values import Encoded, Shape
from tfscale.text.tokenizers import Tokenizer


class Labelled:
    """Knows the labels of one model; the part of `tfscale.Task` that is about them.

    The methods suit a task that gives a text one of several labels.

    Args:
        config: the options that the model was trained with.
        tokenizer: the model's.
        shape: labels and lengths.
    """

    several: bool = False
    """Whether each label is a yes or no of its own, so that logits are (C, 2)."""

    def __init__(self, config: TaskConfig, tokenizer: Tokenizer, shape: Shape):
        self.config, self.tokenizer, self.shape = config, tokenizer, shape
        self.labels, self.sequence_length = list(shape.labels), shape.sequence_length
        self._numbers = {label: number for number, label in enumerate(self.labels)}

    @classmethod
    def label_names(cls, config: TaskConfig, train: Sequence[Example]) -> list[str]:
        """Returns the names of the labels, in the order of the logits.

        Raises:
            DataError: the training examples have fewer than two.
        """
        names = {label for example in train for label in example.labels}
        if len(names) < (1 if config.labels_separator else 2):
            raise DataError(
                f"the training examples have {len(names)} label(s) ({', '.join(names)}); a task"
                " needs 2 or more"
            )
        return sorted(names)

    def targets(self, example: Example, encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
        """Returns the classes that the logits should give, int32, and the weight of each in the
        loss, float32, both (P,).

        Raises:
            DataError: a label that the model does not have.
        """
        numbers = [self.label_number(label, example) for label in example.labels]
        return np.array(numbers, np.int32), np.ones(1, np.float32)

    def label_number(self, label: str, example: Example) -> int:
        """Returns the place of a label in `labels`.

        Raises:
            DataError: the model does not have it.
        """
        if label not in self._numbers:
            raise DataError(
                f"{example.where}: label {label!r} does not occur in the training examples; they"
                f" have {', '.join(self.labels[:12])}{' ...' if len(self.labels) > 12 else ''}"
            )
        return self._numbers[label]

    def check_labels(self, examples: Sequence[Example]) -> None:
        """Refuses examples with labels that the training examples do not have.

        Raises:
            DataError: names the first example and its label.
        """
        for example in examples:
            for label in example.labels:
                self.label_number(label, example)

    @property
    def logits_shape(self) -> tuple[int, int]:
        """P and C of the logits that an exported file gives."""
        return (len(self.labels), 2) if self.several else (1, len(self.labels))
