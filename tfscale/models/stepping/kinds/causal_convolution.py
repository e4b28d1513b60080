"""One-dimensional convolutions that look back: the last inputs are carried from token to token.

Shapes: L inputs that are kept, D channels, F filters.
"""

import keras
import numpy as np
import tensorflow as tf

from tfscale.models.stepping.layer_step import LayerCall, LayerStep
from tfscale.registry import register


@register
class CausalConvolutionStep(LayerStep):
    """Convolves the last inputs and the new one; zeros stand before the first, as in Keras."""

    name = "causal_convolution"
    layers = "`Conv1D`"
    keeps = "state"
    condition = '`padding="causal"` (or a kernel of 1), `strides=1`'

    def __init__(self, call: LayerCall, context: int):
        super().__init__(call, context)
        layer = call.layer
        if layer.padding != "causal":
            raise call.refused(
                f'reads later tokens or leaves some out (padding={layer.padding!r}); "causal" looks'
                " back"
            )
        if layer.strides != (1,) or layer.data_format != "channels_last":
            raise call.refused("has strides, or channels before the tokens")
        size = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        self.shapes = {"x": (1, size, np.shape(call.arguments["inputs"])[-1])}

    @classmethod
    def classes(cls):
        return (keras.layers.Conv1D,)

    @classmethod
    def takes(cls, layer, arguments):
        return layer.kernel_size != (1,) or layer.strides != (1,)

    def step(self, arguments, kept, place, compute):
        layer = self.layer
        inputs = tf.concat([kept["x"], arguments["inputs"]], axis=1)
        # As many inputs as the kernel covers give one output.
        taken = inputs[:, :: layer.dilation_rate[0]]
        output = keras.ops.conv(taken, layer.kernel, padding="valid")
        if layer.use_bias:
            output = output + layer.bias
        if layer.activation is not None:
            output = layer.activation(output)
        return output, {"x": inputs[:, 1:]}
