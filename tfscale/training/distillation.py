"""Distillation: a student learns from a teacher's probabilities besides the text.

See Hinton et al. 2015.

Shapes: B rows, T tokens, V vocabulary, N tokens in any arrangement.
"""

from dataclasses import dataclass

import keras
import tensorflow as tf

from tfscale.errors import ConfigError, check_range
from tfscale.models.capability import capabilities


@dataclass(frozen=True)
class Teacher:
    """A network whose predictions a student imitates.

    Args:
        network: ids (B, T) int32 -> logits (B, T, V), or for a `Model` any inputs -> outputs
            (B, ..., C), made in the scope of the student's strategy; it is not trained.
        weight: part of the loss that is the divergence from the teacher, 0 to 1; the rest is
            cross-entropy.
        temperature: divides both networks' logits in the divergence, which is multiplied by its
            square.
        from_logits: whether the outputs of both networks are logits; None as the loss says. A
            `LanguageModel` takes logits alone.

    Raises:
        ConfigError: a weight or a temperature out of range.
    """

    network: keras.Model
    weight: float = 0.5
    temperature: float = 2.0
    from_logits: bool | None = None

    def __post_init__(self) -> None:
        check_range(0 < self.weight <= 1, "distill.weight", self.weight, "above 0 to 1")
        check_range(self.temperature > 0, "distill.temperature", self.temperature, "more than 0")

    def check_fits(self, student: keras.Model) -> None:
        """Refuses a student of another vocabulary, or one that predicts other tokens.

        Raises:
            ConfigError: names both.
        """
        ours, theirs = (network.output_shape[-1] for network in (student, self.network))
        if ours != theirs:
            raise ConfigError(
                f"the student predicts {ours} tokens and its teacher {theirs}; distillation"
                " compares them one by one, so both need the same tokenizer"
            )

        if capabilities(student).predicts != capabilities(self.network).predicts:
            names = [type(network).__name__ for network in (student, self.network)]
            raise ConfigError(
                f"a {names[0]} and a {names[1]} predict other tokens; take a teacher of the same"
                " kind"
            )

    def blend(self, loss: tf.Tensor, logits: tf.Tensor, taught: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each token, blended with the divergence from the teacher.

        Args:
            loss: the student's own (N,), in nats.
            logits: the student's (N, V) float32.
            taught: the teacher's (N, V).
        """
        student = tf.nn.log_softmax(logits / self.temperature)
        teacher = tf.nn.log_softmax(tf.cast(taught, tf.float32) / self.temperature)
        divergence = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * divergence
