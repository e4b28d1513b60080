"""The models that `tfscale.Model` and stock Keras train beside each other, in plain Keras layers.

Random data: what is measured is the time of a step. See `benchmarks.fit_side`.

Shapes: B rows of a batch, T tokens of a row, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import keras_hub
import numpy as np

from benchmarks import recipe

CHARACTERS = 65
"""V of nanoGPT's recipe."""
WORDS, REVIEW = 10_000, 120
"""V and T of the reviews that the LSTM classifies, cut like those of IMDB in Keras's examples."""

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class FitModel:
    """A model, its data, and how it is compiled.

    Attributes:
        what: as rows of the result name it.
        network: returns a network with new weights.
        data: function of a number of rows: inputs and targets.
        batch_size: B.
        metrics: as `compile` takes them.
        clip_norm: largest norm of the gradients; 0 for none.
    """

    what: str
    network: Callable[[], keras.Model]
    data: Callable[[int], Arrays]
    batch_size: int
    metrics: tuple[str, ...] = ("accuracy",)
    clip_norm: float = 0.0

    def optimizer(self, clips: bool) -> keras.optimizers.Optimizer:
        """Returns AdamW where the gradients are clipped, and else Adam.

        Args:
            clips: whether it clips by itself, as stock Keras has it; `tfscale` does it in the step.
        """
        if not self.clip_norm:
            return keras.optimizers.Adam(1e-3)
        own = {"global_clipnorm": self.clip_norm} if clips else {}
        return keras.optimizers.AdamW(1e-3, weight_decay=0.1, beta_2=0.99, **own)


def language_model() -> keras.Model:
    """Returns nanoGPT's recipe: ids (B, T) -> logits (B, T, V)."""
    width, heads = recipe.HIDDEN_DIM, recipe.NUM_HEADS

    def norm(x):
        return keras.layers.LayerNormalization(center=False)(x)

    ids = keras.Input((recipe.SEQUENCE_LENGTH,), dtype="int32")
    x = keras_hub.layers.TokenAndPositionEmbedding(CHARACTERS, recipe.SEQUENCE_LENGTH, width)(ids)
    for _ in range(recipe.NUM_LAYERS):
        attended = norm(x)
        attention = keras.layers.MultiHeadAttention(heads, width // heads, use_bias=False)
        x = x + attention(attended, attended, use_causal_mask=True)
        hidden = keras.layers.Dense(4 * width, "gelu", use_bias=False)(norm(x))
        x = x + keras.layers.Dense(width, use_bias=False)(hidden)
    return keras.Model(ids, keras.layers.Dense(CHARACTERS, use_bias=False)(norm(x)))


def cnn() -> keras.Model:
    """Returns three convolutions: images (B, 28, 28, 1) -> logits (B, 10)."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )


def classifier() -> keras.Model:
    """Returns embedding, LSTM and Dense: ids (B, T) -> logits (B, 2)."""
    return keras.Sequential(
        [
            keras.Input((REVIEW,), dtype="int32"),
            keras.layers.Embedding(WORDS, 64),
            keras.layers.LSTM(64),
            keras.layers.Dense(2),
        ]
    )


def characters(rows: int) -> Arrays:
    """Returns ids and the ids after them, (rows, T) each."""
    ids = np.random.default_rng(0).integers(0, CHARACTERS, (rows, recipe.SEQUENCE_LENGTH + 1))
    return ids[:, :-1].astype("int32"), ids[:, 1:].astype("int32")


def images(rows: int) -> Arrays:
    """Returns images (rows, 28, 28, 1) and their classes (rows,)."""
    rng = np.random.default_rng(0)
    return rng.random((rows, 28, 28, 1), "float32"), rng.integers(0, 10, rows).astype("int32")


def reviews(rows: int) -> Arrays:
    """Returns ids (rows, T) and classes (rows,)."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, WORDS, (rows, REVIEW)).astype("int32")
    return ids, rng.integers(0, 2, rows).astype("int32")


LANGUAGE = "nanogpt"
"""The model that `LanguageModel` trains, too."""

MODELS: dict[str, FitModel] = {
    LANGUAGE: FitModel(
        "4 x 128, T 64, B 12", language_model, characters, recipe.BATCH_SIZE, (), clip_norm=1.0
    ),
    "cnn": FitModel("CNN, 28 x 28, B 32", cnn, images, 32),
    "lstm": FitModel("LSTM classifier, T 120, B 32", classifier, reviews, 32),
}
