"""A Keras model around another one, under a strategy: what `Model` and `LanguageModel` share."""

import contextlib

import keras
import tensorflow as tf

from tfscale.compat.keras_lookups import nan_beyond_tables
from tfscale.compat.keras_trainer import KerasLoop, Nested, as_raised_within
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.distribution.workers import Workers, lost_workers
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.outputs import check_keras_model
from tfscale.models.weight_formats import WeightFormat
from tfscale.training.distillation import Teacher
from tfscale.training.step_state import Pruner, StepState
from tfscale.training.train_state import TrainState
from tfscale.training.variables import values_in_place
from tfscale.training.xla import on_cpu


class WrappedModel(KerasLoop):
    """Holds a network, the strategy that it was made under, and the state of its training.

    Args:
        network: any Keras 3 model.
        name: of the model.

    Attributes:
        network: as given.
        strategy: that of the scope in which the model was made.
        workers: the processes of the strategy.
        train_step_runner: the train step; None before `compile`.
        pruner: what `tfscale.compress.prune` has set.
        formats: what `tfscale.compress.quantize_aware` has set.
        teacher: what `tfscale.compress.distill` has set.

    Raises:
        ConfigError: the network is not a model of Keras 3.
    """

    def __init__(self, network: keras.Model, name: str | None = None):
        check_keras_model(network)
        super().__init__(name=name)
        self.network = network
        # Weights can be counted and loaded at once where they are there.
        self.built = network.built
        self.strategy = tf.distribute.get_strategy()
        self.workers = Workers(self.strategy)
        self.train_step_runner: StepState | None = None
        self.train_state = TrainState()
        self.pruner: Pruner | None = None
        self.formats: dict[str, WeightFormat] = {}
        self.teacher: Teacher | None = None

    def call(self, inputs: Nested, training: bool | None = None, mask: Nested = None) -> Nested:
        with as_raised_within():
            return self.network(inputs, training=training)

    def averaged_weights(self) -> contextlib.AbstractContextManager[None]:
        """Exchanges the trained weights for those that are meant to be used, for the block.

        With `ema_decay` these are the averages; a model trained for a quantization recipe has them
        rounded.
        """
        step = self.train_step_runner
        if step is None:
            return self.train_state.averages_in_place(self.network)
        return values_in_place(step.variables, step.final_values())

    def checked_ids(self) -> contextlib.AbstractContextManager[None]:
        """Has ids beyond the rows of an Embedding give NaN where TensorFlow does not check them."""
        checks = on_cpu() and not self.jit_compile
        return contextlib.nullcontext() if checks else nan_beyond_tables()

    def export(self, *arguments: object, **keras_arguments: object) -> None:
        """Exports the network by Keras's `export`, with the weights that `predict` uses."""
        with self.averaged_weights():
            self.network.export(*arguments, **keras_arguments)

    def save(self, filepath: object, *arguments: object, **keras_arguments: object) -> None:
        """Saves the model as Keras's `save` does.

        Raises:
            ConfigError: a file in HDF5, which Keras writes and cannot read as this class.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ConfigError(
                f"{str(filepath)!r} would be HDF5, from which Keras cannot load a"
                f" {type(self).__name__}: take a name that ends in .keras, or"
                " save_weights('name.weights.h5')"
            )
        super().save(filepath, *arguments, **keras_arguments)

    def plain_network(self) -> keras.Model:
        """Returns the network with variables of this process, to be saved or exported.

        Under parameter servers it is a copy. Call it outside of the strategy's scope.
        """
        if not is_asynchronous(self.strategy):
            return self.network
        copy = type(self.network).from_config(self.network.get_config())
        for copied, weight in zip(copy.weights, self.network.weights, strict=True):
            copied.assign(tf.convert_to_tensor(weight.value))
        return copy

    def _lost_peers(self) -> contextlib.AbstractContextManager[None]:
        peer = "a parameter server" if is_asynchronous(self.strategy) else "another worker"
        return lost_workers(peer)

    def get_config(self) -> JsonObject:
        return {"network": keras.saving.serialize_keras_object(self.network), "name": self.name}

    @classmethod
    def from_config(cls, config: JsonObject, custom_objects: JsonObject | None = None):
        network = keras.saving.deserialize_keras_object(
            config["network"], custom_objects=custom_objects
        )
        return cls(network, name=config["name"])
