"""Each private name of Keras that tfscale needs is there and does what is said of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfscale.compat import keras as compat


@pytest.fixture
def inner():
    return keras.Sequential([keras.layers.Embedding(4, 3), keras.layers.Dense(2)], name="inner")


@pytest.fixture
def model(inner):
    model = keras.Sequential([inner, keras.layers.Dense(5, name="last")])
    model(np.zeros((1, 2), "int32"))
    return model


def test_layers_of_reaches_the_layers_inside(model, inner):
    assert {inner, *inner.layers, model.layers[-1]} <= set(compat.layers_of(model))


def test_is_leaf(model, inner):
    assert compat.is_leaf(model.layers[-1]) and not compat.is_leaf(inner)


def test_own_variables_are_not_those_of_layers_inside(model, inner):
    dense = model.layers[-1]
    assert compat.own_trainable_variables(inner) == compat.own_variables(inner) == []
    assert compat.own_trainable_variables(dense) == [dense.kernel, dense.bias]
    norm = keras.layers.BatchNormalization()
    norm.build((1, 3))
    assert len(compat.own_trainable_variables(norm)) == 2
    assert compat.own_variables(norm)[2:] == [norm.moving_mean, norm.moving_variance]


def test_embedding_table_is_the_variable(model, inner):
    layer = inner.layers[0]
    table = compat.embedding_table(layer)
    layer.enable_lora(1)
    assert compat.embedding_table(layer) is table
    assert table is not layer.embeddings and tuple(table.shape) == (4, 3)


def test_symbolic_calls_hold_inputs_and_arguments():
    inputs = keras.Input((2,))
    layer = keras.layers.Dropout(0.5)
    layer(layer(inputs, training=True))
    first, second = compat.symbolic_calls(layer)
    assert first.arguments.kwargs["training"] is True and first.input_tensors[0] is inputs
    assert not second.arguments.kwargs["training"] and second.input_tensors[0] is not inputs


def test_layers_are_called_by_other_functions_within_the_block(model):
    dense, ids = model.layers[-1], np.zeros((1, 2), "int32")
    expected = np.asarray(model(ids))
    with compat.layers_called_by([(dense, lambda inputs: tf.zeros((1, 2, 5)))]):
        assert not np.asarray(model(ids)).any()
        with compat.layers_called_by([(dense, lambda inputs: tf.ones((1, 2, 5)))]):
            assert np.asarray(model(ids)).all()
        assert not np.asarray(model(ids)).any()
    assert "call" not in vars(dense)
    np.testing.assert_array_equal(model(ids), expected)


def test_layers_are_called_as_before_after_an_error(model):
    dense = model.layers[-1]
    with pytest.raises(ZeroDivisionError), compat.layers_called_by([(dense, abs)]):
        raise ZeroDivisionError
    assert "call" not in vars(dense)


def test_a_model_of_one_shape_is_called_with_another():
    ids = keras.Input(batch_shape=(4, 6), dtype="int32")
    model = keras.Model(ids, keras.layers.Embedding(9, 2)(ids))
    whole = np.asarray(model(np.ones((4, 6), "int32")))
    found = compat.call_of_any_shape(model, tf.ones((1, 1), tf.int32))
    np.testing.assert_array_equal(found, whole[:1, :1])


def test_the_output_layer_is_the_one_that_makes_the_output():
    x = keras.Input((3,))
    last = keras.layers.Dense(2)
    y = last(x)
    other = keras.layers.Dense(5)(x)
    model = keras.Model(x, y)
    assert compat.output_layer(model) is last
    assert compat.output_layer(keras.Sequential([keras.Input((3,)), model])) is last
    assert compat.output_layer(keras.Model(x, [y, other])) is None
    assert compat.output_layer(keras.Model(x, keras.ops.exp(y))) is None


@pytest.mark.parametrize(
    ("layer", "sizes"),
    [
        (keras.layers.MultiHeadAttention(2, 3, 5, use_gate=True, sliding_window=4), (2, 3, 5, 4)),
        (keras.layers.GroupQueryAttention(3, 4, 2), (2, 3, 3, None)),
    ],
)
def test_the_parts_of_an_attention_layer(layer, sizes):
    x = np.random.default_rng(0).normal(size=(1, 2, 8)).astype("float32")
    layer(x, x)
    parts = compat.attention_parts(layer)
    assert (parts.groups, parts.key_width, parts.value_width, parts.window) == sizes
    assert parts.query(x).shape == (1, 2, 2 if parts.gate else 4, parts.key_width)
    assert parts.key(x).shape == (1, 2, parts.groups, parts.key_width)
    assert parts.value(x).shape == (1, 2, parts.groups, parts.value_width)
    if parts.gate is not None:
        assert parts.gate(x).shape == (1, 2, 2, 5)


def test_what_keras_says_of_an_error_is_one_line():
    with pytest.raises(Exception, match="Exception encountered") as raised:
        keras.layers.Embedding(3, 2)(np.array([[7]]))
    said = compat.one_line(raised.value)
    assert "is not in [0, 3)" in said and "\n" not in said


def test_path_is_what_optimizers_name_their_variables_after():
    weight = keras.Variable([1.0], name="kernel")
    compat.set_path(weight, "dense/kernel.of-0")
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build([weight])
    assert weight.path == "dense/kernel.of-0"
    assert any("dense_kernel.of-0" in variable.name for variable in optimizer.variables)


def test_a_spread_variable_is_saved_and_assigned_as_a_whole():
    class Halves:
        shape = (4,)

        def __init__(self):
            self.parts = [tf.Variable([1.0, 2.0]), tf.Variable([3.0, 4.0])]

        def numpy(self):
            return np.concatenate([part.numpy() for part in self.parts])

        def assign(self, value):
            self.parts[0].assign(value[:2])
            self.parts[1].assign(value[2:])

    halves = Halves()
    variable = compat.SpreadVariable(halves, halves.parts[0], "halves")
    assert variable.numpy().tolist() == [1, 2, 3, 4] and variable.shape == (4,)
    variable.assign([5.0, 6.0, 7.0, 8.0])
    assert halves.parts[1].numpy().tolist() == [7, 8]


def test_masks_go_with_tensors():
    outputs = keras.layers.Embedding(3, 2, mask_zero=True)(np.array([[1, 0]]))
    mask = compat.mask_of(outputs)
    np.testing.assert_array_equal(mask, [[True, False]])
    assert compat.mask_of(tf.zeros((1, 2))) is None
    assert compat.mask_of(compat.with_mask(tf.zeros((1, 2)), mask)) is mask
