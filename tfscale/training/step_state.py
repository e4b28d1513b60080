"""The state of a train step, and the update that ends it: shared by all train steps.

A step sums gradients over micro-batches and replicas, each in its own way; what follows is the
same: the factor that makes the sums the clipped mean, the finite check, the optimizer, the average
of the weights and the pruning masks.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras_optimizers import take_gradients_as_reduced, unknown_weights
from tfscale.compat.tensorflow import outside_of_scopes
from tfscale.config.step import CompileOptions
from tfscale.errors import ConfigError
from tfscale.models.remat import SEED_STATE_NAME
from tfscale.models.weight_formats import WeightFormat, rounded
from tfscale.training.checkpoint import network_state
from tfscale.training.chosen_updates import written_if
from tfscale.training.loss_scale import LossScale
from tfscale.training.norms import global_norm
from tfscale.training.variables import Stored, local_value, replicated
from tfscale.training.xla import has_xla

CALLS = 1024
"""Numbers that a layer may draw in one forward pass, each by another seed: a dropout layer that is
called at several places, or the masks of an LSTM's inputs and of its states."""
LAP = 2**20
"""Forward passes after which the first number of a seed changes: Keras takes 31 bits of the
second."""


class Pruner(Protocol):
    """The members of `tfscale.compress.pruning.Pruner` that the step uses."""

    def build(self, network: keras.Model, step: "StepState") -> None: ...

    def choose(self, network: keras.Model) -> list[keras.Variable]: ...

    def after_update(self) -> None: ...

    def state(self) -> dict[str, tf.Variable]: ...

    def masks_of_zeros(self) -> dict[str, np.ndarray]: ...

    def is_kept(self) -> bool: ...


class StepState:
    """Holds the variables of a train step and applies its gradients. Make it inside
    `strategy.scope()`.

    Args:
        network: the built Keras model whose weights are trained.
        optimizer: a Keras optimizer; it gets gradients that are summed over the replicas.
        options: see `CompileOptions`.
        strategy: the strategy whose scope the network was made in.
        pruner: keeps weights sparse, see `tfscale.compress.prune`; None leaves them dense.
        formats: the formats that weights are rounded to in the forward pass, by path; weights
            without one, or with one of 16 or 32 bits, are taken as they are. See
            `tfscale.compress.quantize_aware`.

    Raises:
        ConfigError: the network has no trainable weights, or weights that an optimizer, which has
            trained others before, has no state for.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        options: CompileOptions,
        strategy: tf.distribute.Strategy,
        pruner: Pruner | None = None,
        formats: Mapping[str, WeightFormat] | None = None,
    ):
        if not network.trainable_variables:
            raise ConfigError(f"model {network.name!r} has no trainable weights")
        self.network, self.options, self.strategy = network, options, strategy
        self.optimizer, self.pruner = optimizer, pruner
        self.uses_xla = bool(options.xla) and has_xla()
        """Whether XLA compiles the gradients."""
        self.replicas = strategy.num_replicas_in_sync
        # What the optimizer updates, and the variables behind it.
        self.weights = self._optimized_weights(network, optimizer)
        self.variables = [weight.value for weight in self.weights]
        self.formats = [(formats or {}).get(weight.path) for weight in self.weights]
        self.seed_states = [v for v in network.variables if v.name == SEED_STATE_NAME]
        self.frozen = [v for v in network.non_trainable_variables if v.name != SEED_STATE_NAME]
        self.step = replicated(0, tf.int64)
        self.loss_scale = LossScale(network)
        if not optimizer.built:
            optimizer.build(self.weights)
        elif unknown := unknown_weights(optimizer, self.weights):
            raise ConfigError(
                f"optimizer {optimizer.name!r} has trained other weights, and has no state for"
                f" {unknown[0].path!r} (a layer was added or unfrozen since, or it is another"
                " model's); give compile a new optimizer"
            )
        take_gradients_as_reduced(optimizer)
        self.overflows = replicated(0, tf.int64)
        self.first_bad_step = replicated(-1, tf.int64)
        self.averages = [self._new_average(v) for v in self.variables] if options.ema_decay else []
        if pruner is not None:
            pruner.build(network, self)

    def _optimized_weights(
        self, network: keras.Model, optimizer: keras.optimizers.Optimizer
    ) -> list[keras.Variable]:
        return network.trainable_variables

    def _new_average(self, variable: tf.Variable) -> tf.Variable:
        return replicated(tf.convert_to_tensor(variable), variable.dtype)

    def context(self) -> contextlib.AbstractContextManager[None]:
        """Returns the context of a step: with one replica nothing is left to coordinate.

        A TPU's one replica is run by its strategy all the same.
        """
        tpu = isinstance(self.strategy, tf.distribute.TPUStrategy)
        return outside_of_scopes() if self.replicas == 1 and not tpu else contextlib.nullcontext()

    def final_values(self) -> list[tf.Tensor]:
        """Returns the weights as they are meant to be used: averaged, and rounded to their formats.

        The list is empty if they are used as they are. Averages begin with the first update; until
        then the weights are used, which may have been set meanwhile.
        """
        averages = self.averages if int(self.step.numpy()) > int(self.overflows.numpy()) else []
        values = [tf.convert_to_tensor(local_value(v)) for v in averages or self.variables]
        if any(self.formats):
            return [rounded(value, form) for value, form in zip(values, self.formats, strict=True)]
        return values if averages else []

    def state(self) -> dict[str, Stored]:
        """Returns all that a checkpoint must hold so that a resumed run goes on bit for bit."""
        named: dict[str, Stored] = dict(network_state(self.network))
        for index, variable in enumerate(self.optimizer.variables):
            named[f"optimizer/{index}/{variable.name}"] = variable.value
        return named | self.beside_weights() | self.counters()

    def beside_weights(self) -> dict[str, Stored]:
        """Returns the state that Keras treats as weights: averages and pruning masks."""
        named: dict[str, Stored] = {f"average/{i}": v for i, v in enumerate(self.averages)}
        return named | (self.pruner.state() if self.pruner else {})

    def counters(self) -> dict[str, tf.Variable]:
        """Returns the state that Keras treats as an optimizer's: counters and loss scale."""
        return self.loss_scale.state() | {"step": self.step, "overflows": self.overflows}

    @tf.autograph.experimental.do_not_convert
    def _count(self, finite: tf.Tensor) -> None:
        """Counts a step, after the update or instead of it, and adapts the loss scale."""
        at_its_least = self.loss_scale.at_its_least()
        self.loss_scale.adjust(finite)
        # Without a condition, which costs more than what it would spare.
        self.overflows.assign_add(tf.cast(~finite, tf.int64))
        bad = ~finite & at_its_least
        self.first_bad_step.assign(tf.where(bad, self.step + 1, self.first_bad_step))
        self.step.assign_add(1)

    def _seeds(self, draw: tf.Tensor) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Returns the states of the network's seed generators, each with its value for a draw.

        A generator counts its second number up by 1 with each call. Those of a draw are apart from
        those of the next one, which may be another replica's.
        """
        base = self.options.seed * 1009 + 1_000_003 * (draw // LAP)
        count = draw % LAP * CALLS
        return [(state, tf.stack([base + i, count])) for i, state in enumerate(self.seed_states)]

    def _stand_ins(self, sources, values) -> dict[int, tf.Tensor]:
        """Returns the tensors to compute with instead of weights, by the weight's identity."""
        trained = self.network.trainable_variables
        # Not given to a scope at once, which would ask for the variable's shape: of a table, rows
        # may stand in.
        stand_ins = {}
        if values:
            pairs = zip([*trained, *self.frozen], values, strict=True)
            stand_ins = {id(weight): value for weight, value in pairs}
        if any(self.formats):
            for weight, source, form in zip(trained, sources, self.formats, strict=True):
                stand_ins[id(weight)] = rounded(tf.convert_to_tensor(source), form)
        return stand_ins

    def _mean_factor(self, gradients, loss, count, scale):
        """Returns the factor that makes sums of gradients the clipped mean, and what it is made of.

        Args:
            gradients: sums over all replicas of the gradients of the scaled loss.
            loss: sum of the losses; it is looked at alone.
            count: what the sums are divided by; scalar float32.
            scale: what the loss was multiplied by.

        Returns:
            Factor, loss, count, norm of the mean gradients, whether all is finite.
        """
        # The gradients themselves are multiplied by it in the update, where that costs no pass over
        # memory. Where nothing counts, all gradients are 0.
        mean = 1 / (tf.where(count > 0, count, 1.0) * scale)
        norm = global_norm(gradients, self.uses_xla) * mean
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss)
        if self.options.clip_norm:
            mean *= self.options.clip_norm / tf.maximum(norm, self.options.clip_norm)
        return mean, loss, count, norm, finite

    def _scale_and_update(self, sums, factor):
        self._update_variables([gradient * factor for gradient in sums])

    def _update_if(self, wanted: tf.Tensor, update: Callable[[], None]) -> None:
        """Updates the weights, or leaves everything as it is, within a program of XLA.

        See `tfscale.training.chosen_updates` for why it is no condition.

        Args:
            wanted: scalar bool.
            update: writes weights, the optimizer's state, averages and pruning masks alone.
        """
        state = [variable.value for variable in self.optimizer.variables]
        masks = self.pruner.state().values() if self.pruner is not None else ()
        written = [*self.variables, *state, *self.averages, *masks]
        # TF-MOT writes masks, and weights by them, inside of conditions of its own.
        with written_if(wanted, written, at_once=self.pruner is None):
            update()

    def _update_variables(self, gradients):
        self.optimizer.apply(gradients, self.weights)
        if self.averages:
            self._update_averages()
        if self.pruner is not None:
            self.pruner.after_update()

    def _average_decay(self):
        """Returns min(decay, (1 + t) / (10 + t)), where t updates came before this one.

        This is what `tf.train.ExponentialMovingAverage` does with `num_updates`: the average
        forgets the random first weights, and covers more steps as the training goes on.
        """
        # The optimizer has counted this update, and none of the steps that changed nothing.
        updates = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.float32) - 1
        return tf.minimum(self.options.ema_decay, (1 + updates) / (10 + updates))

    def _update_averages(self):
        decay = self._average_decay()
        for average, variable in zip(self.averages, self.variables, strict=True):
            average.assign(decay * average + (1 - decay) * variable)
