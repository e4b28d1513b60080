"""`Costs`: what a model costs to train, counted from its config by `NetworkConfig.costs`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Costs of one model, for `tfscale plan`.

    Operations count a multiplication and an addition as two, as is usual, and matrix products only.
    The backward pass costs twice as much as the forward pass. All values except the first three and
    `vocabulary_size` are numbers that are kept from the forward to the backward pass.

    Attributes:
        parameters: trainable weights.
        forward_flops: operations per token of the forward pass.
        layers: layers that can be rematerialized.
        block_values: values per token and layer in the compute type.
        block_float32: values per token and layer in float32, the mean of the layers.
        kept_values: values per token and layer where the layer is rematerialized.
        edge_values: values per token outside the layers, without the logits.
        vocabulary_size: logits per token.
        largest_float32: the same of the layer that has the most; 0 where all have as many.
        estimated: whether only the number of weights is known, and the rest is estimated from it.
    """

    parameters: int
    forward_flops: float
    layers: int
    block_values: float
    block_float32: float
    kept_values: float
    edge_values: float
    vocabulary_size: int
    largest_float32: float = 0.0
    estimated: bool = False
