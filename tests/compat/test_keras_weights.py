"""Private names of Keras by which weights are read and written part by part."""

import keras
import numpy as np
import pytest

from tfscale.compat import keras_weights
from tfscale.compat.keras_weights import (
    assign_rows,
    put_on_disk,
    weights_from_files,
    weights_to_files,
)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(keras_weights, "_PART", 50)


def make(seed):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Embedding(30, 6), keras.layers.Dense(11), keras.layers.Dropout(0.5)]
    return keras.Sequential([keras.Input((4,), dtype="int32"), *layers])


def test_a_file_is_written_and_read(tmp_path):
    path, model = str(tmp_path / "model.keras"), make(1)
    with weights_to_files():
        model.save(path)
    with weights_from_files():
        loaded = keras.saving.load_model(path, compile=False)
    for reader in (lambda: loaded, lambda: keras.saving.load_model(path, compile=False)):
        for have, want in zip(reader().weights, model.weights, strict=True):
            np.testing.assert_array_equal(have.numpy(), want.numpy())


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_bfloat16_is_read(tmp_path, dtype):
    path = str(tmp_path / "model.weights.h5")
    keras.utils.set_random_seed(1)
    models = []
    for kind in ("bfloat16", dtype):
        layers = [keras.Input((4,), dtype="int32"), keras.layers.Embedding(30, 6, dtype=kind)]
        models.append(keras.Sequential(layers))
    models[0].save_weights(path)
    with weights_from_files():
        models[1].load_weights(path)
    want, have = (np.asarray(model.weights[0].numpy(), np.float32) for model in models)
    np.testing.assert_array_equal(have, want)


def test_large_weights_of_new_layers_are_zeros_and_no_others():
    with weights_from_files():
        model = make(1)
    kernel = model.layers[1].kernel
    assert not model.layers[0].embeddings.numpy().any() and not kernel.numpy().any()
    assert make(1).layers[1].kernel.numpy().any()
    with weights_from_files():
        assert keras.layers.Dense(2).build((None, 3)) is None
        small = keras.layers.Dense(2)
        small.build((None, 3))
    assert small.kernel.numpy().any()


def test_another_shape_is_refused(tmp_path):
    path = str(tmp_path / "model.weights.h5")
    make(1).save_weights(path)
    other = keras.Sequential([keras.Input((4,), dtype="int32"), keras.layers.Embedding(31, 6)])
    with weights_from_files(), pytest.raises(ValueError, match="shape"):
        other.load_weights(path)


def test_weights_on_disk_are_read_by_rows(tmp_path):
    model = make(1)
    table, kernel, bias = (weight.numpy() for weight in model.weights[:3])
    put_on_disk(model, str(tmp_path))
    embedding, dense = model.layers[:2]
    np.testing.assert_array_equal(np.asarray(embedding.embeddings), table)
    np.testing.assert_array_equal(np.asarray(dense.kernel), kernel)
    np.testing.assert_array_equal(np.asarray(dense.bias), bias)
    fewer = keras.layers.Embedding(17, 4)
    fewer.build()
    assign_rows(fewer.embeddings, embedding.embeddings, 4)
    np.testing.assert_array_equal(fewer.embeddings.numpy(), table[:17, :4])
