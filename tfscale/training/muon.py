"""Muon: steps for the matrices of hidden layers whose singular values are all about 1.

Jordan et al. (2024) take a momentum's nearest matrix with orthogonal rows or columns, by a few
Newton-Schulz steps X <- a X + (b A + c A A) X with A = X X'. Keras's class does so one matrix after
the other. Here all matrices of a shape are one product, and the steps of a matrix that is longer
than wide are taken on its small Gram matrix: X <- p(A) X has the Gram matrix A p(A)^2, so that only
the first product and the last one have the long side.

Shapes: N matrices of one shape, m their short side, n their long side.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfscale.compat.keras_optimizers import DirectedMuon
from tfscale.errors import ConfigError

Coefficients = Sequence[tuple[float, ...]]
"""For each step, what I, A, A^2, and perhaps A^3 and A^4 are multiplied by."""

SHORTER: Coefficients = (
    (14.893424, -144.95206, 479.46604, -612.60284, 264.9355),
    (6.746661, -16.226625, 13.656418, -4.468097, 0.49604032),
    (4.2006732, -8.7829523, 7.9064088, -2.9253691, 0.37575017),
)
"""tfscale's own steps: polynomials of degree 9 in the singular value, each with the least largest
distance from 1 over what the one before leaves (as in Amsel et al. 2025), from [0.002, 1] on.
They bring singular values of 0.002 or more to between 0.77 and 1.23, in 12 products; five steps
of Keras take 15."""
_LONG = 1.5
"""From this ratio of its sides on, a matrix is taken by its Gram matrix."""
_TINY = 1e-7
"""Added to the norm of a momentum, which may be 0; Keras's value."""

Matrix = tuple[int, Sequence[int]] | list
"""The first axes that a matrix's layer sums over, and the outputs of each of its parts."""


@keras.saving.register_keras_serializable("tfscale")
class Muon(DirectedMuon):
    """Muon for chosen matrices; AdamW for all other weights.

    `tfscale.build_optimizer` makes one for a network, and chooses the matrices.

    Args:
        learning_rate: a number or a schedule.
        matrices: for each weight, in the order of `trainable_variables`, None for AdamW or
            [input axes, [outputs, ...]]: the number of its first axes that its layer sums over, and
            the outputs of each of the matrices that are side by side in it.
        ns_steps: steps of Keras's iteration; 0 takes a shorter one with no larger error.
        rms_rate: root mean square of an update per unit of the learning rate (Liu et al. 2025); 0
            leaves the singular values at 1.
        weight_decay: decoupled weight decay of all weights.
        **kwargs: further arguments of `keras.optimizers.Muon`.

    Raises:
        ConfigError: the weights that it is built for are others than `matrices` describes.
    """

    def __init__(
        self,
        learning_rate: object = 1e-3,
        *,
        matrices: Sequence[Matrix | None],
        ns_steps: int = 0,
        rms_rate: float = 0.2,
        weight_decay: float | None = None,
        momentum: float = 0.95,
        nesterov: bool = True,
        adam_lr_ratio: float = 1.0,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.99,
        epsilon: float = 1e-8,
        **kwargs: object,
    ):
        super().__init__(
            learning_rate,
            ns_steps=ns_steps,
            rms_rate=rms_rate,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            adam_lr_ratio=adam_lr_ratio,
            adam_beta_1=adam_beta_1,
            adam_beta_2=adam_beta_2,
            epsilon=epsilon,
            adam_weight_decay=weight_decay,
            **kwargs,
        )
        # Tuples, because Keras makes tracked containers of lists.
        self.matrices = tuple(
            None if matrix is None else (int(matrix[0]), tuple(map(int, matrix[1])))
            for matrix in matrices
        )

    def build(self, var_list):
        if self.built:
            return
        shapes = [tuple(variable.shape) for variable in var_list]
        fits = len(shapes) == len(self.matrices) and all(
            matrix is None or _columns(shape, matrix[0]) == sum(matrix[1])
            for shape, matrix in zip(shapes, self.matrices, strict=False)
        )
        if not fits:
            raise ConfigError(
                f"Muon was made for {len(self.matrices)} trainable weights of other shapes than"
                f" the {len(shapes)} here; make it by tfscale.build_optimizer when layers are"
                " frozen and added as they are to be trained"
            )
        super().build(var_list)

    def is_matrix(self, index: int) -> bool:
        return self.matrices[index] is not None

    def directions(self, momenta: dict[int, tf.Tensor]) -> dict[int, tf.Tensor]:
        chosen = {index: self.matrices[index] or (1, ()) for index in momenta}
        parts: list[tf.Tensor] = []
        for index, momentum in momenta.items():
            input_axes, outputs = chosen[index]
            flat = tf.reshape(momentum, (-1, _columns(momentum.shape, input_axes)))
            parts += tf.split(flat, outputs, axis=1) if len(outputs) > 1 else [flat]
        done = iter(self._orthogonal(parts))
        return {
            index: tf.reshape(
                tf.concat([next(done) for _ in chosen[index][1]], axis=1), momentum.shape
            )
            for index, momentum in momenta.items()
        }

    def _orthogonal(self, parts: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns each matrix's update, those of one shape computed together."""
        places: dict[tuple[int, int], list[int]] = {}
        for place, part in enumerate(parts):
            rows, columns = part.shape
            places.setdefault((min(rows, columns), max(rows, columns)), []).append(place)
        updates = list(parts)
        for (short, long), group in places.items():
            wide = [
                part if part.shape[0] == short else tf.transpose(part)
                for part in (parts[place] for place in group)
            ]
            coefficients = [(self.muon_a, self.muon_b, self.muon_c)] * self.ns_steps
            done = orthogonalized(tf.stack(wide), coefficients or SHORTER, tight=not coefficients)
            scale = self.rms_rate * long**0.5 if self.rms_rate else 1.0
            for place, update in zip(group, tf.unstack(done * scale), strict=True):
                turned = parts[place].shape[0] != short
                updates[place] = tf.transpose(update) if turned else update
        return updates

    def get_config(self):
        config = super().get_config()
        for name in ("adam_weight_decay", "exclude_layers", "exclude_embeddings"):
            del config[name]
        matrices = [matrix and [matrix[0], list(matrix[1])] for matrix in self.matrices]
        return {**config, "matrices": matrices}


def orthogonalized(x: tf.Tensor, coefficients: Coefficients, tight: bool) -> tf.Tensor:
    """Returns the matrices with all singular values brought to about 1.

    Args:
        x: (N, m, n) float32 with m at most n.
        coefficients: of each Newton-Schulz step.
        tight: whether to begin with a tighter bound on the largest singular value than the
            Frobenius norm, so that the others begin nearer to 1.

    Returns:
        (N, m, n), as Keras's `zeropower_via_newtonschulz5` gives it for the same coefficients
        without `tight`.

    Example:
        orthogonalized(tf.random.normal((1, 64, 256)), SHORTER, tight=True)
    """
    gram = tf.matmul(x, x, transpose_b=True)
    # The trace is the squared Frobenius norm: no singular value is above 1 after it.
    norm = tf.sqrt(tf.linalg.trace(gram))[:, None, None] + _TINY
    gram /= norm**2
    square = tf.matmul(gram, gram)
    if tight:
        # The sum of the 8th powers of the singular values is the sum of the squares in gram^2, and
        # its 8th root is no less than the largest one.
        bound = tf.reduce_sum(tf.square(square), axis=(1, 2), keepdims=True) ** 0.25 + _TINY
        gram, square, norm = gram / bound, square / bound**2, norm * tf.sqrt(bound)
    scaled = x / norm
    if x.shape[2] < _LONG * x.shape[1]:
        return _by_whole(scaled, gram, square, coefficients)
    return tf.matmul(_by_gram(gram, square, coefficients), scaled)


def _by_whole(
    x: tf.Tensor, gram: tf.Tensor, square: tf.Tensor, coefficients: Coefficients
) -> tf.Tensor:
    """The steps on the matrices themselves, which have 2 products and those of a polynomial."""
    for step, (constant, *others) in enumerate(coefficients):
        if step:
            gram = tf.matmul(x, x, transpose_b=True)
            square = tf.matmul(gram, gram)
        x = constant * x + tf.matmul(_polynomial(others, gram, square), x)
    return x


def _by_gram(gram: tf.Tensor, square: tf.Tensor, coefficients: Coefficients) -> tf.Tensor:
    """The polynomial of the Gram matrix (N, m, m) by which the matrices are multiplied."""
    identity = tf.eye(gram.shape[1], dtype=gram.dtype)
    whole = None
    for step, (constant, *others) in enumerate(coefficients):
        if step:
            square = tf.matmul(gram, gram)
        factor = constant * identity + _polynomial(others, gram, square)
        whole = factor if whole is None else tf.matmul(factor, whole)
        if step + 1 < len(coefficients):
            gram = tf.matmul(factor, tf.matmul(factor, gram))
    return whole


def _polynomial(coefficients: Sequence[float], gram: tf.Tensor, square: tf.Tensor) -> tf.Tensor:
    """The terms of a polynomial of A after the constant, from A and A^2: one more product for the
    third and the fourth power."""
    first, second, *higher = coefficients
    terms = first * gram + second * square
    if higher:
        third, fourth = higher
        terms += tf.matmul(third * gram + fourth * square, square)
    return terms


def _columns(shape: Sequence[int], input_axes: int) -> int:
    """Returns the outputs of a kernel whose first axes are summed over."""
    columns = 1
    for size in tuple(shape)[input_axes:]:
        columns *= size
    return columns
