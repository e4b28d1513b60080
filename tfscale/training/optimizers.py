"""The optimizer of a training config: a Keras optimizer that is set up for a network."""

import dataclasses
import importlib
import inspect
import sys

import keras
import tensorflow as tf

from tfscale.config import NetworkConfig, TrainConfig
from tfscale.config.optimizer import OptimizerSpec
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.errors import ConfigError
from tfscale.models.network import as_language_network
from tfscale.models.roles import hidden_matrices, undecayed_variables
from tfscale.registry import OPTIMIZERS
from tfscale.terminal import print
from tfscale.training.schedule import build_schedule


def build_optimizer(config: TrainConfig, network: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the Keras optimizer that a training config names, with its schedule, for a network.

    Weight decay leaves norms, biases and embeddings alone. `muon` orthogonalizes the steps of the
    matrices of hidden layers, and updates embeddings, output layers, norms and biases by AdamW.

    Args:
        config: `optimizer` and its options, `learning_rate`, `warmup_steps`, `steps` and
            `schedule`. A network of `build_network` has a default optimizer and learning rate; the
            default optimizer of any other model is AdamW.
        network: the built Keras model whose weights are trained. Freeze layers before.

    Returns:
        The optimizer, for `compile` of `LanguageModel` or `Model`; clipping, averages and
        micro-batches are options of `compile`. Make it inside `strategy.scope()`.

    Raises:
        ConfigError: the config has no learning rate and the network no default; an optimizer that
            is not right under parameter servers; or see `tfscale.models.roles.hidden_matrices`.

    Example:
        config = tfscale.TrainConfig(optimizer="muon", learning_rate=3e-3, steps=2000)
        model = tfscale.LanguageModel(network)
        model.compile(tfscale.build_optimizer(config, network), clip_norm=1.0)
    """
    servers = is_asynchronous(tf.distribute.get_strategy())
    language = as_language_network(network)
    if language is not None:
        if note := servers_note(config, language.config, servers):
            print(note, file=sys.stderr, flush=True)
        config = config.for_model(language.config, by_entries=servers)
    elif not config.optimizer:
        config = dataclasses.replace(config, optimizer=NetworkConfig.optimizer)
    spec = OPTIMIZERS.get(config.optimizer)
    if servers:
        _check_servers(spec)
    arguments = {**spec.options_of(vars(config)), **spec.fixed}
    kind = keras_class(spec)
    decay = inspect.signature(kind).parameters["weight_decay"]
    # Where Keras's class decays nothing by default, a decay of 0 would only cost time.
    if not arguments["weight_decay"] and decay.default is None:
        del arguments["weight_decay"]
    if spec.matrices_argument:
        matrices = hidden_matrices(network)
        arguments[spec.matrices_argument] = [
            [matrix.input_axes, list(matrix.parts)] if (matrix := matrices.get(index)) else None
            for index in range(len(network.trainable_variables))
        ]
    optimizer = kind(build_schedule(config), **arguments)
    optimizer.exclude_from_weight_decay(var_list=undecayed_variables(network))
    return optimizer


def servers_note(config: TrainConfig, model: NetworkConfig, servers: bool) -> str:
    """Returns a line that says where a family's optimizer gives way on parameter servers.

    Args:
        config: as a user gave it, before `for_model`.
        model: the architecture.
        servers: whether there are parameter servers.

    Returns:
        The line; empty where the optimizer is the family's, or was asked for.
    """
    wanted, taken = config.optimizer_for(model), config.optimizer_for(model, by_entries=servers)
    if wanted == taken:
        return ""
    return (
        f"optimizer {taken}: {wanted}, the default of the family {model.family}, looks at whole"
        " weights, which parameter servers cut and update apart"
    )


def keras_class(spec: type[OptimizerSpec]) -> type[keras.optimizers.Optimizer]:
    """Returns the Keras class that a declaration names.

    Raises:
        ConfigError: there is none of this name, or it lacks an argument that is declared.
    """
    module, _, name = spec.keras_class.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"optimizer {spec.name!r} is declared as {spec.keras_class}, which cannot be imported"
            f" ({error})"
        ) from error
    known = inspect.signature(kind).parameters
    names = [*spec.defaults, *spec.fixed, "weight_decay"]
    if spec.matrices_argument:
        names.append(spec.matrices_argument)
    if missing := [argument for argument in names if argument not in known]:
        raise ConfigError(
            f"optimizer {spec.name!r} is declared with {missing[0]}, which {spec.keras_class} does"
            " not take"
        )
    return kind


def _check_servers(spec: type[OptimizerSpec]) -> None:
    """Refuses an optimizer that looks at whole weights, which servers cut."""
    if not spec.by_entries:
        able = ", ".join(other.name for other in OPTIMIZERS if other.by_entries)
        raise ConfigError(
            f"train.optimizer={spec.name} looks at whole weights, which parameter servers cut and"
            f" update apart; take {able}, or another strategy"
        )
