"""Checks of a network that somebody else built: are its outputs the logits of a next token?

A softmax at the end, logits of the last token alone, a dictionary, or a layer that reads both sides
all train without an error, and what they report as loss and perplexity means nothing. One forward
pass of a few random ids finds each of them before the first step.

Shapes: B rows, T tokens, V vocabulary.
"""

import contextlib
import re
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import layers_called_by, layers_of
from tfscale.errors import ConfigError
from tfscale.models.capability import capabilities
from tfscale.models.stepping.watching import first_that_looks_ahead

SQUASHING = ("softmax", "sigmoid")
"""Activations whose values are probabilities, not logits."""
FUTURE_TOLERANCE = 1e-3
"""Largest change of earlier logits with later tokens, relative to the logits' spread: rounding
moves them by far less."""


@dataclass(frozen=True)
class Vocabulary:
    """The ids that a network reads, 0 to `inputs` - 1, and those that it predicts, 0 to `targets` -
    1."""

    inputs: int
    targets: int


_checked: weakref.WeakKeyDictionary[keras.Model, tuple[object, Vocabulary]] = (
    weakref.WeakKeyDictionary()
)


def check_keras_model(network: object) -> None:
    """Checks that it is a model of Keras 3.

    Raises:
        ConfigError: names the class.
    """
    if not isinstance(network, keras.Model):
        kind = type(network)
        hint = ""
        if kind.__module__.startswith("tf_keras"):
            hint = (
                ", which is Keras 2 (TF_USE_LEGACY_KERAS=1 makes tf.keras that): build it with"
                " `import keras`"
            )
        raise ConfigError(
            "the network must be a keras.Model of Keras 3; received"
            f" {kind.__module__}.{kind.__name__}{hint}"
        )


def check_built(network: keras.Model) -> None:
    """Checks that a network has weights.

    Raises:
        ConfigError: says how to build it.
    """
    if not network.built:
        raise ConfigError(
            f"model {network.name!r} is not built yet: call it once on a batch of ids, as in"
            " network(np.zeros((1, T), 'int32')), or begin it with keras.Input((None,),"
            " dtype='int32')"
        )


def check_weight_types(network: keras.Model) -> None:
    """Checks that a train step can update the weights of a network.

    Raises:
        ConfigError: names the first trainable weight that is not float32.
    """
    for weight in network.trainable_variables:
        if (dtype := keras.backend.standardize_dtype(weight.dtype)) != "float32":
            raise ConfigError(
                f"weight {weight.path} of model {network.name!r} is {dtype}, and training keeps"
                " weights in float32; for layers that compute in 16 bits take the policy"
                " 'mixed_bfloat16' or 'mixed_float16'"
            )


def probe_ids(network: keras.Model, length: int | None = None) -> np.ndarray:
    """Returns random ids that a network can read, for `check_logits`.

    Args:
        network: built or not.
        length: T; None takes the network's own where that is fixed, and else 4.

    Returns:
        ids (B, T) int32: 2 rows, or as many as the network's input has.
    """
    rows, own_length = _declared_input(network)
    tables = [layer.input_dim for layer in _embeddings(network)]
    width = _declared_width(network)
    # Position tables are among them; a few different ids are enough.
    most = min([*tables, *([width] if width else [])], default=2)
    shape = (rows or 2, length or own_length or 4)
    # Id 0 is padding to a network with masks.
    return np.random.default_rng(0).integers(min(1, most - 1), most, shape).astype(np.int32)


def check_logits(network: keras.Model, ids: np.ndarray | tf.Tensor) -> Vocabulary:
    """Checks on a few ids that a network gives logits of the token after each, made of that token
    and earlier ones.

    It takes one forward pass without dropout, by this process alone, under any strategy: parameter
    servers and TPUs are asked for the weights once. No state of the network changes. What a network
    has passed is remembered.

    Of a network that declares that it reads the tokens on both sides, by an attribute `cloze =
    True`, the last part is left out; its score is then called pseudo_perplexity.

    Args:
        network: ids (B, T) int32 -> logits (B, T, V). If it is not built, it is built on these ids.
        ids: (B, T), within the network's vocabulary; see `probe_ids`. Other values of later tokens
            are taken from it.

    Returns:
        The ids that the network can read and predict.

    Raises:
        ConfigError: several inputs, windows of another length, outputs that are not (B, T, V),
            probabilities instead of logits, or logits that move when later tokens change.

    Example:
        check_logits(network, probe_ids(network, 128)).targets  # V
    """
    check_keras_model(network)
    ids = np.asarray(ids, np.int32)
    _check_input(network, ids)
    if not network.built:
        network(ids)
    # A network whose layers were exchanged since is another one.
    weights = tuple((id(weight), tuple(weight.shape)) for weight in network.weights)
    known = _checked.get(network)
    if known is not None and known[0] == weights:
        return known[1]
    with _readers(network, ids) as readers:
        logits = _forward(network, ids)
    _check_no_probabilities(network, logits)
    if not capabilities(network).is_cloze:
        _check_causal(network, ids, logits)
    width = logits.shape[-1]
    vocabulary = Vocabulary(min(readers, default=width), width)
    _checked[network] = (weights, vocabulary)
    return vocabulary


def _check_input(network: keras.Model, ids: np.ndarray) -> None:
    inputs = getattr(network, "inputs", None) or [None]
    if len(inputs) > 1:
        names = ", ".join(str(tensor.name) for tensor in inputs)
        raise ConfigError(
            f"model {network.name!r} has {len(inputs)} inputs ({names}); a language model reads ids"
            " (B, T) alone: make the others from the ids inside of the model"
        )
    length = _declared_input(network)[1]
    if length is not None and length != ids.shape[1]:
        raise ConfigError(
            f"model {network.name!r} reads windows of {length} tokens, and the data has windows of"
            f" {ids.shape[1]}; keras.Input((None,), dtype='int32') reads any"
        )


def _declared_input(network: keras.Model) -> tuple[int | None, int | None]:
    """Returns the rows and the length of the network's input, None where they are open or not
    known."""
    inputs = getattr(network, "inputs", None)
    shape = tuple(inputs[0].shape) if inputs else ()
    return shape if len(shape) == 2 else (None, None)


def _declared_width(network: keras.Model) -> int | None:
    """V where a functional or sequential model says it."""
    try:
        shape = network.output_shape
    except (AttributeError, ValueError):  # a subclass, or not built
        return None
    return shape[-1] if isinstance(shape, tuple) and shape and isinstance(shape[-1], int) else None


def _embeddings(network: keras.Model) -> list[keras.layers.Embedding]:
    return [layer for layer in layers_of(network) if isinstance(layer, keras.layers.Embedding)]


@contextlib.contextmanager
def _readers(network: keras.Model, ids: np.ndarray) -> Iterator[set[int]]:
    """Gives the sizes of the tables that look up the ids themselves, and not positions, say, within
    the block."""
    sizes: set[int] = set()
    layers = _embeddings(network)

    def watched(layer: keras.layers.Embedding, call: Callable) -> Callable:
        def call_watched(inputs, *args, **kwargs):
            value = tf.get_static_value(inputs) if tf.is_tensor(inputs) else np.asarray(inputs)
            if (
                value is not None
                and value.shape == ids.shape
                and (value.astype(np.int64) == ids).all()
            ):
                sizes.add(layer.input_dim)
            return call(inputs, *args, **kwargs)

        return call_watched

    with layers_called_by([(layer, watched(layer, layer.call)) for layer in layers]):
        yield sizes


def _forward(network: keras.Model, ids: np.ndarray) -> np.ndarray:
    """Returns logits (B, T, V) float32, with nothing of the network changed."""
    values = [(weight, tf.convert_to_tensor(weight.value)) for weight in network.variables]
    # A TPU would compile each operation by itself.
    on_host = (
        tf.device("CPU:0") if tf.config.list_logical_devices("TPU") else contextlib.nullcontext()
    )
    try:
        with on_host, keras.StatelessScope(state_mapping=values):
            outputs = network(tf.constant(ids), training=False)
    except tf.errors.InvalidArgumentError as error:
        # Keras puts lines before and after TensorFlow's own, which is coloured.
        reason = next(
            line for line in error.message.splitlines() if line and "encountered when" not in line
        )
        reason = re.sub(r"\x1b\[\d+m|\{\{.*?\}\}", "", reason).strip()[:200]
        raise ConfigError(
            f"model {network.name!r} cannot read ids of shape {ids.shape}: {reason}"
        ) from error
    return _logits_of(network, outputs, ids)


def _logits_of(network: keras.Model, outputs: tf.Tensor, ids: np.ndarray) -> np.ndarray:
    asked = f"the network must give one tensor of logits (B, T, V); model {network.name!r} gives"
    if isinstance(outputs, dict):
        raise ConfigError(
            f"{asked} a dict of {', '.join(map(str, outputs))}; take the one that holds the logits"
        )
    if isinstance(outputs, tuple | list):
        raise ConfigError(f"{asked} {len(outputs)} outputs; take the one that holds the logits")
    shape = tuple(outputs.shape)
    if len(shape) != 3 or shape[:2] != ids.shape:
        hint = "; return_sequences=True gives one row a token" if len(shape) == 2 else ""
        raise ConfigError(f"{asked} {shape} for ids {ids.shape}{hint}")
    return tf.cast(outputs, tf.float32).numpy()


def _check_no_probabilities(network: keras.Model, logits: np.ndarray) -> None:
    activation = last_activation(network)
    if np.isfinite(logits).all():
        inside = logits.min() >= 0 and logits.max() <= 1
        sums_to_one = logits.shape[-1] > 1 and np.abs(logits.sum(-1) - 1).max() < 0.01
        wrong = inside and (sums_to_one or activation in SQUASHING)
    else:
        wrong = activation in SQUASHING
    if wrong:
        ends = (
            f"ends in {activation}"
            if activation in SQUASHING
            else "gives rows that lie in 0..1 and sum to 1"
        )
        raise ConfigError(
            f"model {network.name!r} {ends}: it gives probabilities, and the loss takes logits (its"
            " softmax would be taken twice); leave the last activation out"
        )


def last_activation(network: keras.Model) -> str:
    """Returns the name of the activation of the last layer; "" where there is none."""
    return activation_of(network.layers[-1]) if network.layers else ""


def activation_of(layer: keras.layers.Layer) -> str:
    """Returns the name of a layer's activation; that of the class where it has none, which may be
    `Softmax`."""
    if isinstance(layer, keras.Model):
        return last_activation(layer)
    inner = getattr(layer, "layer", layer)  # inside of TimeDistributed
    activation = getattr(inner, "activation", None)
    return (
        getattr(activation, "__name__", "")
        if activation is not None
        else type(inner).__name__.lower()
    )


def _check_causal(network: keras.Model, ids: np.ndarray, logits: np.ndarray) -> None:
    half = ids.shape[1] // 2
    values, places = np.unique(ids, return_inverse=True)
    if not half or len(values) < 2 or not np.isfinite(logits).all():
        return
    changed = ids.copy()
    changed[:, half:] = values[(places.reshape(ids.shape)[:, half:] + 1) % len(values)]
    moved = np.abs(_forward(network, changed)[:, :half] - logits[:, :half]).max()
    if moved > FUTURE_TOLERANCE * logits.std(axis=(0, 1)).max():
        begins = first_that_looks_ahead(network, partial(_forward, network), ids, changed)
        raise ConfigError(
            f"model {network.name!r} sees the future: its first {half} logits change with later"
            " tokens, which are the targets, so its loss would mean nothing"
            f"{f', and it begins in {begins}' if begins else ''}. Use layers that only"
            " look back (no Bidirectional, attention with use_causal_mask=True), or set"
            " network.cloze = True if it is meant to guess hidden tokens from both sides"
        )
