"""An activation after a product in int4 is computed by both of LiteRT's kernels."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfscale.exporting.flatbuffer import operations
from tfscale.exporting.rounding import round_weights
from tfscale.models.recipe import StoredWeight, recipe
from tfscale.models.weight_formats import rounded

INPUTS, HIDDEN, OUTPUTS = 128, 64, 32
RANDOM = np.random.default_rng(0)
FIRST = RANDOM.normal(size=(INPUTS, HIDDEN)).astype("float32")
BIAS = RANDOM.normal(size=HIDDEN).astype("float32")
SECOND = RANDOM.normal(size=(HIDDEN, OUTPUTS)).astype("float32")
X = RANDOM.normal(size=(5, INPUTS)).astype("float32")
ACTIVATIONS = {
    "RELU": (tf.nn.relu, lambda x: np.maximum(x, 0)),
    "RELU6": (tf.nn.relu6, lambda x: np.clip(x, 0, 6)),
}


def rounded_file(activation, quantize):
    """A file of two products with an activation between them."""
    module = tf.Module()
    module.weights = [tf.Variable(value) for value in (FIRST, BIAS, SECOND)]

    @tf.function(input_signature=[tf.TensorSpec(X.shape)])
    def compute(x):
        first, bias, second = module.weights
        return tf.matmul(activation(tf.matmul(x, first) + bias), second)

    concrete = [compute.get_concrete_function()]
    content = tf.lite.TFLiteConverter.from_concrete_functions(concrete, module).convert()
    return round_weights(content, quantize)


def as_stored(weight, quantize):
    form = recipe(quantize).format_of(StoredWeight(weight.shape, (0,)))
    return rounded(tf.constant(weight), form).numpy()


@pytest.mark.parametrize("kernels", ["AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"])
@pytest.mark.parametrize("quantize", ["int4", "int8"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_product_of_the_activation_is_that_of_numpy(name, quantize, kernels):
    activation, by_hand = ACTIVATIONS[name]
    content = rounded_file(activation, quantize)
    # One that is computed in int8 keeps it as a part of the product.
    alone = {name: 1} if quantize == "int4" else {}
    assert operations(content) == {"main": {"FULLY_CONNECTED": 2, **alone}}
    file = Interpreter(
        model_content=content, experimental_op_resolver_type=getattr(OpResolverType, kernels)
    )
    file.allocate_tensors()
    file.set_tensor(file.get_input_details()[0]["index"], X)
    file.invoke()
    found = file.get_tensor(file.get_output_details()[0]["index"])
    first, second = as_stored(FIRST, quantize), as_stored(SECOND, quantize)
    wanted = by_hand(X @ first + BIAS) @ second
    # Inputs of a product are rounded to int8; without the activation the spread is three times as
    # large.
    assert np.abs(found - wanted).max() < 0.1 * wanted.std()
