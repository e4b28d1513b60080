"""The network of a task: a language model's features of a text, and a head.

Shapes: B batch, T tokens, D width of the features, C labels, P predictions of an example: T where
tokens are labelled, 1 for a label of a text, C where each label is a yes or no.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras import ops

from tfscale.compat.keras import is_leaf, layers_of
from tfscale.config.tasks import TaskConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models import build_network
from tfscale.models.capability import capabilities
from tfscale.models.dropout import Dropout
from tfscale.registry import TASKS
from tfscale.runs.folder import Run


@dataclass(frozen=True)
class HeadOptions:
    """The parts of the head of a `TaskNetwork`; a saved network holds it.

    Attributes:
        task: the name of the task, whose `Task.head` makes the logits.
        num_labels: C, or how many labels there are that are each a yes or no.
        end_id: the end token.
        several: whether a text may have several labels or none.
        dropout: rate before the head.
        seed: seed of the head and of dropout.
    """

    task: str
    num_labels: int
    end_id: int
    several: bool = False
    dropout: float = 0.0
    seed: int = 0


@keras.saving.register_keras_serializable("tfscale")
class TaskNetwork(keras.Model):
    """Token ids (B, T) int32 -> logits (B, P, C) float32, with C = 2 (no, yes) where a text may
    have several labels.

    It is trained by `LanguageModel` like any network: targets and weights are (B, P).

    Args:
        base: a network of `build_network`.
        options: the task and its labels.

    Raises:
        ConfigError: the base has no features to build on.

    Example:
        options = HeadOptions(task="classify", num_labels=2, end_id=0)
        network = TaskNetwork(load_run("run").network, options)
    """

    def __init__(self, base: keras.Model, options: HeadOptions, name: str = "task"):
        if not capabilities(base).has_hidden_states:
            raise ConfigError(f"{type(base).__name__} has no hidden_states for a task to build on")
        policy = keras.dtype_policies.DTypePolicy(getattr(base, "precision", "float32"))
        # The loss of a task does not depend on them.
        for variable in base.prediction_variables:
            variable.trainable = False
        inputs = keras.Input((None,), dtype="int32", name="tokens")
        features = Features(base, dtype=policy, name="features")(inputs)
        logits = TASKS.get(options.task).head(features, inputs, options, policy)
        outputs = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self.base, self.options, self.head = base, options, self.get_layer("head")

    def get_config(self) -> JsonObject:
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "name": self.name,
            **dataclasses.asdict(self.options),
        }

    @classmethod
    def from_config(
        cls, config: JsonObject, custom_objects: JsonObject | None = None
    ) -> "TaskNetwork":
        base = keras.saving.deserialize_keras_object(
            config.pop("base"), custom_objects=custom_objects
        )
        name = config.pop("name")
        return cls(base, HeadOptions(**config), name)


def text_head(
    features: keras.KerasTensor,
    ids: keras.KerasTensor,
    options: HeadOptions,
    dtype: keras.DTypePolicy,
) -> keras.KerasTensor:
    """Returns logits of a whole text: (B, 1, C), or (B, C, 2) where it may have several labels.

    The head reads the mean of the features of the text's tokens, joined with those of the last one,
    which in a causal model have read it all. The text ends at the first end token after the first
    position.
    """
    pooled = PoolText(options.end_id, dtype=dtype, name="pool")(features, ids)
    logits = token_head(pooled, options, dtype)
    if not options.several:
        return logits
    # (B, 1, C) scores -> (B, C, 2): a softmax over 0 and the score is its sigmoid.
    scores = ops.transpose(logits, (0, 2, 1))
    return ops.concatenate([ops.zeros_like(scores), scores], axis=-1)


def token_head(
    features: keras.KerasTensor, options: HeadOptions, dtype: keras.DTypePolicy
) -> keras.KerasTensor:
    """Returns logits (B, P, C) of features (B, P, D), after dropout."""
    initializer = keras.initializers.GlorotUniform(seed=options.seed * 100_003 + 900)
    dropped = Dropout(options.dropout, dtype=dtype, name="head_dropout")(features)
    return keras.layers.Dense(
        options.num_labels, kernel_initializer=initializer, dtype=dtype, name="head"
    )(dropped)


@keras.saving.register_keras_serializable("tfscale")
class Features(keras.layers.Layer):
    """The base network's features of each token: ids (B, T) -> (B, T, D).

    A model that reads both sides gives the states of both; one that predicts the next token, what
    its output projection reads.
    """

    def __init__(self, base: keras.Model, **kwargs: object):
        super().__init__(**kwargs)
        self.base = base
        self.built = True

    def call(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        read = self.base.features
        return read(ids, training=training)


@keras.saving.register_keras_serializable("tfscale")
class PoolText(keras.layers.Layer):
    """Features (B, T, D), ids (B, T) -> the mean over the text and its last token, side by side (B,
    1, 2 D)."""

    def __init__(self, end_id: int, **kwargs: object):
        super().__init__(**kwargs)
        self.end_id = end_id

    def call(self, features: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        not_first = ops.cast(ops.arange(ops.shape(ids)[1]) > 0, "float32")
        ends = ops.cast(ops.equal(ids, self.end_id), "float32") * not_first
        # Up to and with the first end token after position 0, which is the last token of the text;
        # then comes padding.
        before = ops.cumsum(ends, axis=1) - ends
        inside = ops.cast(ops.equal(before, 0.0), self.compute_dtype)
        at_last = (inside * ops.cast(ends, self.compute_dtype))[..., None]
        inside = inside[..., None]
        mean = ops.sum(features * inside, axis=1, keepdims=True) / ops.sum(
            inside, axis=1, keepdims=True
        )
        return ops.concatenate([mean, ops.sum(features * at_last, axis=1, keepdims=True)], axis=-1)

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "end_id": self.end_id}


def window_length(run: Run, config: TaskConfig) -> int:
    """Returns the tokens of a window: those that the options ask for, or the run's.

    Raises:
        ConfigError: more than the run's context.
    """
    length = config.sequence_length or run.model_config.sequence_length
    context = run.model_config.max_context
    if context is not None and length > context:
        raise ConfigError(f"sequence_length={length}, and the run's context is {context} tokens")
    return length


def task_network(run: Run, config: TaskConfig, options: HeadOptions) -> TaskNetwork:
    """Returns the network of a task on a run's weights, with the weights that stay frozen.

    Args:
        run: the run that is fine-tuned.
        config: the task's options.
        options: its labels and its head.

    Raises:
        ConfigError: `lora_rank`, and the base has no dense layer that could take an addition.
    """
    base = build_network(run.model_config, config.precision, config.seed)
    base.set_weights(run.network.get_weights())
    network = TaskNetwork(base, options)
    if config.freeze:
        base.trainable = False
    if config.lora_rank:
        add_low_rank(base, config.lora_rank, config.seed, base.prediction_variables)
    return network


def add_low_rank(
    base: keras.Model, lora_rank: int, seed: int, without: Sequence[keras.Variable] = ()
) -> None:
    """Gives each dense layer of a network an addition of low rank, and freezes all else (Hu et al.
    2022).

    Args:
        base: a network.
        lora_rank: of the additions.
        seed: of their first values.
        without: kernels that get none.

    Raises:
        ConfigError: the base has no dense layer that could take one.
    """
    unused = {id(variable) for variable in without}
    dense = [
        layer
        for layer in layers_of(base)
        if isinstance(layer, keras.layers.Dense) and id(layer.kernel) not in unused
    ]
    if not dense:
        raise ConfigError(
            f"lora_rank={lora_rank}: no feature of {type(base).__name__} is made by a dense layer;"
            " freeze it, or train all weights"
        )
    for layer in layers_of(base):
        if is_leaf(layer):
            layer.trainable = False
    for number, layer in enumerate(dense):
        layer.trainable = True
        if layer.use_bias:
            layer.bias.trainable = False
        initializer = keras.initializers.HeUniform(seed=seed * 100_003 + 950 + number)
        layer.enable_lora(lora_rank, a_initializer=initializer)
