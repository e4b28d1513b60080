"""Magnitude pruning of any Keras 3 model by TF-MOT's engine, inside the train step (Zhu and Gupta
2017).

TF-MOT refuses Keras 3. Its schedules and its computation of masks need no Keras, so they are used
here as they are: by magnitude, in blocks, or N:M (of M consecutive weights N are zero). What
surrounds them is the train step's: masks are variables of the strategy, are computed once for all
replicas and given to each, follow the optimizer's count of updates, and go into checkpoints.
Weights are masked after each update, so they are sparse whenever anybody looks.
"""

import re
import warnings
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import KerasConfig, layers_of, own_trainable_variables
from tfscale.compat.tfmot import SCHEDULES, Pruning, PruningSchedule, new_mask
from tfscale.compress.sparsity import Sparsity, measure_sparsity
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.errors import ConfigError
from tfscale.training.language_model import LanguageModel
from tfscale.training.step_state import StepState

Policy = Callable[[keras.layers.Layer, keras.Variable], bool]
"""Whether a weight of a layer is pruned."""
KERNEL_NAMES = ("kernel", "recurrent_kernel")


@keras.saving.register_keras_serializable("tfscale")
class Pruner:
    """Keeps masks for weights and applies them after each update of the train step; see `prune`.

    A Keras file of the model keeps the indices of the chosen weights, not the policy.
    """

    def __init__(
        self,
        schedule: PruningSchedule,
        policy: Policy,
        block_size: tuple[int, int] = (1, 1),
        block_pooling: str = "AVG",
        m_by_n: tuple[int, int] | None = None,
    ):
        self.schedule, self.policy, self.m_by_n = schedule, policy, m_by_n
        self.block_size, self.block_pooling = block_size, block_pooling
        self.pruned: list[tuple[tf.Variable, tf.Variable, tf.Variable | None]] = []
        """For each pruned weight: the weight, its mask, and its average where the step keeps
        one."""
        self.places: list[int] | None = None
        """Indices of the pruned weights among the network's trainable ones; None before `build`."""

    def build(self, network: keras.Model, step: StepState) -> None:
        """Makes the masks. The train step calls it inside its strategy's scope.

        Raises:
            ConfigError: the policy chooses no weight, or one that the block size or N:M does not
                fit.
        """
        weights = self.choose(network)
        chosen = {id(weight) for weight in weights}
        place = {id(weight): index for index, weight in enumerate(network.trainable_variables)}
        self.places = [place[id(weight)] for weight in weights if id(weight) in place]
        self.pruned = []
        averages = step.averages or [None] * len(step.variables)
        self._iterations = step.optimizer.iterations.value
        for weight, variable, average in zip(step.weights, step.variables, averages, strict=True):
            if id(weight) in chosen:
                with step.strategy.extended.colocate_vars_with(variable):
                    mask = tf.Variable(
                        tf.ones(variable.shape),
                        trainable=False,
                        name="mask",
                        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                    )
                self.pruned.append((variable, mask, average))
        self._engine = Pruning(
            self._next_step,
            [(v, m, None) for v, m, _ in self.pruned],
            self.schedule,
            self.block_size,
            self.block_pooling,
            self.m_by_n,
        )
        self._update(step.strategy)

    def choose(self, network: keras.Model) -> list[keras.Variable]:
        """Returns the weights of a network that the policy chooses, or that a file names."""
        if self.places is not None:
            return [network.trainable_variables[place] for place in self.places]
        chosen: dict[int, keras.Variable] = {}
        for layer in layers_of(network):
            for weight in own_trainable_variables(layer):
                if self.policy(layer, weight):
                    chosen[id(weight)] = weight
        patterned = self.block_size != (1, 1) or self.m_by_n is not None
        for weight in chosen.values():
            if patterned and len(weight.shape) != 2:
                raise ConfigError(
                    f"blocks and N:M are for matrices, and {weight.path} has the shape"
                    f" {tuple(weight.shape)}; leave it out by the policy"
                )
        if not chosen:
            raise ConfigError(f"the policy chooses no weight of {network.name!r} to prune")
        return list(chosen.values())

    def after_update(self) -> None:
        """Brings masks up to date and applies them; the train step calls it in a replica after its
        update."""
        tf.distribute.get_replica_context().merge_call(self._update)

    def state(self) -> dict[str, tf.Variable]:
        """Returns the variables that a checkpoint must hold."""
        return {f"mask/{index}": mask for index, (_, mask, _) in enumerate(self.pruned)}

    def masks_of_zeros(self) -> dict[str, np.ndarray]:
        """Returns the state for weights that came without masks: what is zero was pruned."""
        arrays = [np.asarray(tf.convert_to_tensor(weight)) for weight, _, _ in self.pruned]
        return {
            f"mask/{index}": (array != 0).astype("float32") for index, array in enumerate(arrays)
        }

    def is_kept(self) -> bool:
        """Returns whether a file can keep it: its schedule is TF-MOT's, not a user's class."""
        return any(type(self.schedule) in (kind, kind.__base__) for kind in SCHEDULES.values())

    def get_config(self) -> KerasConfig:
        """Returns what a Keras file keeps of the pruner."""
        return {
            "schedule": self.schedule.get_config(),
            "places": self.places,
            "block_size": list(self.block_size),
            "block_pooling": self.block_pooling,
            "m_by_n": self.m_by_n and list(self.m_by_n),
        }

    @classmethod
    def from_config(cls, config: KerasConfig) -> "Pruner":
        """Returns a pruner as it is before `compile`."""
        schedule = SCHEDULES[config["schedule"]["class_name"]](**config["schedule"]["config"])
        m_by_n = config["m_by_n"]
        pruner = cls(
            schedule,
            lambda layer, weight: False,
            tuple(config["block_size"]),
            config["block_pooling"],
            m_by_n and tuple(m_by_n),
        )
        pruner.places = config["places"]
        return pruner

    def _next_step(self) -> tf.Tensor:
        """Returns the number, from 1, of the step that comes: TF-MOT makes the masks of a step
        before its forward pass."""
        return tf.cast(self._iterations, tf.int32) + 1

    def _update(self, strategy: tf.distribute.Strategy) -> None:
        update = strategy.extended.update

        def new_masks():
            for weight, mask, _ in self.pruned:
                values = new_mask(self._engine, tf.convert_to_tensor(weight))
                update(mask, lambda mask, values: mask.assign(values), args=(values,), group=False)
            return tf.constant(True)

        step = self._next_step()
        # N:M leaves the schedule no fraction to raise: its masks are made once, where the schedule
        # begins.
        due = step == self.schedule.begin_step if self.m_by_n else self.schedule(step)[0]
        tf.cond(due, new_masks, lambda: tf.constant(False))
        for weight, mask, average in self.pruned:
            for variable in (weight, average):
                if variable is not None:
                    update(variable, lambda v, mask: v.assign(v * mask), args=(mask,), group=False)


def prune(
    model: LanguageModel,
    schedule: PruningSchedule,
    *,
    policy: Policy | None = None,
    embeddings: bool = False,
    include: str = "",
    exclude: str = "",
    block_size: tuple[int, int] = (1, 1),
    block_pooling: str = "AVG",
    m_by_n: tuple[int, int] | None = None,
) -> Pruner:
    """Prunes a model while it is trained: call it before `compile`, inside the strategy's scope.

    Args:
        model: a `LanguageModel` around any Keras 3 network.
        schedule: TF-MOT's `ConstantSparsity` or `PolynomialDecay`. Its steps are optimizer updates,
            counted from 1; the masks of a step are there before its gradient is taken.
        policy: which weights, as a function (layer, weight) -> bool; None takes the kernels of
            Dense and EinsumDense layers (attention projections among them) and of LSTM, GRU and
            SimpleRNN, recurrent ones too.
        embeddings: prune embedding tables too. No effect with a policy of one's own.
        include: regular expression that the path of a weight must contain; "" takes all that the
            policy takes.
        exclude: regular expression for paths to leave out; "" leaves none out.
        block_size: rows and columns of the blocks that are zero or not as a whole; matrices only.
        block_pooling: "AVG" or "MAX", how the weights of a block are compared with those of
            another.
        m_by_n: (2, 4) makes 2 of 4 consecutive weights of an output zero, from the schedule's first
            step on.

    Returns:
        The pruner, which `compile` hands to the train step.

    Raises:
        ConfigError: the model is compiled already or on parameter servers, a pattern is out of
            range, or an expression is not regular.

    Example:
        with tfscale.strategy("auto").scope():
            model = tfscale.LanguageModel(network)
            schedule = PolynomialDecay(0.0, 0.8, begin_step=100, end_step=900, frequency=20)
            tfscale.compress.prune(model, schedule)
            model.compile(keras.optimizers.AdamW(1e-3))
        model.fit(dataset, steps_per_epoch=1000)
        print(tfscale.compress.strip(model))
    """
    if model.train_step_runner is not None:
        raise ConfigError(
            "prune comes before compile, which builds the train step with the masks in it"
        )
    if is_asynchronous(model.strategy):
        raise ConfigError(
            "pruning needs all of a weight in one place, which parameter servers do not give; prune"
            " the trained run under another strategy: its checkpoints are the same"
        )
    if block_pooling not in ("AVG", "MAX"):
        raise ConfigError(f"block_pooling={block_pooling!r} is unknown; expected AVG or MAX")
    if min(block_size) < 1 or (m_by_n is not None and not 0 < m_by_n[0] < m_by_n[1]):
        raise ConfigError(
            f"block_size={block_size} needs 1 or more, m_by_n={m_by_n} fewer zeros than weights"
        )
    if m_by_n is not None and block_size != (1, 1):
        raise ConfigError("block_size and m_by_n are two patterns; give one of them")
    try:
        wanted, unwanted = re.compile(include), re.compile(exclude)
    except re.error as error:
        raise ConfigError(f"include and exclude must be regular expressions: {error}") from error
    base = policy or (
        lambda layer, weight: (
            is_kernel(layer, weight) or (embeddings and is_embedding(layer, weight))
        )
    )

    def chooses(layer: keras.layers.Layer, weight: keras.Variable) -> bool:
        left_out = bool(exclude) and unwanted.search(weight.path)
        return bool(base(layer, weight) and wanted.search(weight.path) and not left_out)

    model.pruner = Pruner(schedule, chooses, block_size, block_pooling, m_by_n)
    return model.pruner


def strip(model: LanguageModel) -> list[Sparsity]:
    """Ends the pruning of a model: its weights keep their zeros, and the masks are gone. Compile it
    to train on.

    Returns:
        Each weight that was pruned with its measured sparsity; a warning says if there is not one
        zero.

    Raises:
        ConfigError: the model is not pruned, or was not compiled.
    """
    pruner = model.pruner
    if pruner is None or model.train_step_runner is None:
        raise ConfigError("strip needs a model that was pruned: call prune, compile and fit first")
    chosen = pruner.choose(model.network)
    model.pruner = model.train_step_runner = None
    model.train_state.follow(None)
    measured = measure_sparsity(chosen)
    if not any(entry.zeros for entry in measured):
        warnings.warn(
            "nothing was pruned: the schedule did not act in the steps that were trained; give it a"
            " begin_step and a frequency (100 by default) below them",
            stacklevel=2,
        )
    return measured


def is_kernel(layer: keras.layers.Layer, weight: keras.Variable) -> bool:
    """Returns whether a weight is a kernel of a dense or recurrent layer."""
    kinds = (
        keras.layers.Dense,
        keras.layers.EinsumDense,
        keras.layers.LSTMCell,
        keras.layers.GRUCell,
        keras.layers.SimpleRNNCell,
    )
    return isinstance(layer, kinds) and weight.name in KERNEL_NAMES


def is_embedding(layer: keras.layers.Layer, weight: keras.Variable) -> bool:
    """Returns whether a weight is the table of an embedding layer."""
    return isinstance(layer, keras.layers.Embedding) and weight.name == "embeddings"
