"""The state that layers keep between batches, as far as several replicas can share it."""

from collections.abc import Sequence

import keras

from tfscale.compat.keras import layers_of, own_variables
from tfscale.errors import ConfigError


def shared_state(network: keras.Model) -> set[int]:
    """Returns the identities of the variables that are the same on all replicas after each step.

    Those are the moving averages of batch normalization that is synchronized.
    """
    return {
        id(variable)
        for layer in layers_of(network)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.synchronized
        for variable in own_variables(layer)
    }


def is_synchronized(network: keras.Model) -> bool:
    """Returns whether a layer communicates between replicas in its forward pass."""
    return any(
        layer.synchronized
        for layer in layers_of(network)
        if isinstance(layer, keras.layers.BatchNormalization)
    )


def check_normalized(network: keras.Model, micro_batches: int) -> None:
    """Refuses micro-batches of a network with synchronized batch normalization.

    Raises:
        ConfigError: says what to do.
    """
    if micro_batches > 1 and is_synchronized(network):
        raise ConfigError(
            "synchronized batch normalization takes mean and variance over the replicas, and not"
            " over micro-batches: leave out micro_batches, or take LayerNormalization or"
            " GroupNormalization, which do without"
        )


def check_not_stateful(network: keras.Model, micro_batches: int = 1) -> None:
    """Refuses recurrent layers that carry the states of a batch's rows on to the next batch.

    Call it where batches are cut into parts, whose rows are fewer than the states.

    Raises:
        ConfigError: names the layer and what to do.
    """
    for layer in layers_of(network):
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            parts = "replicas" if micro_batches == 1 else "replicas and micro-batches"
            raise ConfigError(
                f"layer {layer.name!r} of model {network.name!r} has stateful=True, and {parts} do"
                " not see all rows whose states it carries on: leave stateful out, or use one"
                " device with micro_batches=1"
            )


def check_carried(
    network: keras.Model, changed: Sequence[keras.Variable], micro_batches: int
) -> None:
    """Refuses state that would be another one on several replicas or in micro-batches.

    Args:
        network: the model whose forward pass was traced.
        changed: the variables that it assigns, besides seeds.
        micro_batches: of the step.

    Raises:
        ConfigError: names the variable and what to do.
    """
    shared = shared_state(network) if micro_batches == 1 else set()
    for variable in changed:
        if id(variable) in shared:
            continue
        owners = [
            layer
            for layer in layers_of(network)
            if any(own is variable for own in own_variables(layer))
        ]
        if any(isinstance(layer, keras.layers.BatchNormalization) for layer in owners):
            hint = (
                "batch normalization takes mean and variance of the rows that it sees at once."
                " BatchNormalization(synchronized=True) takes them over all replicas, and needs"
                " micro_batches=1; LayerNormalization and GroupNormalization do without"
            )
        else:
            hint = "such state is carried on one device and with micro_batches=1 alone"
        raise ConfigError(
            f"layer state {variable.path!r} is updated in the forward pass, and would be another"
            f" one on each replica and in each micro-batch: {hint}"
        )
