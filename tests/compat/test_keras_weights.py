"""Private names of Keras by which weights are read and written part by part."""

import os
import re
import threading

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


def test_large_weights_of_new_layers_are_zeros_at_first_and_no_others():
    with weights_from_files():
        model = make(1)
        embedding, dense = model.layers[:2]
        assert not embedding.embeddings.numpy().any() and not dense.kernel.numpy().any()
        assert make(1).layers[1].kernel.numpy().any() == 0
        small = keras.layers.Dense(2)
        small.build((None, 3))
        assert small.kernel.numpy().any()
        dense.kernel.assign(np.ones((6, 11)))
        embedding.embeddings.value.assign(np.ones((30, 6), np.float32))
    assert (embedding.embeddings.numpy() == 1).all() and (dense.kernel.numpy() == 1).all()
    assert make(1).layers[1].kernel.numpy().any()


def test_weights_without_a_value_get_the_numbers_of_their_initializers():
    expected = make(1).get_weights()
    with weights_from_files():
        model = make(1)
    for have, want in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(have, want)


class Halves(keras.layers.Layer):
    """Stores a matrix in two, and a number that is no array."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 11), name="kernel")
        self.other = self.add_weight(shape=(input_shape[-1], 11), name="other")

    def call(self, inputs):
        return inputs @ self.kernel

    def save_own_variables(self, store):
        store["half"], store["count"] = self.kernel * 0.5, 2.0

    def load_own_variables(self, store):
        self.kernel.assign(store["half"] * store["count"])


def test_layers_may_store_weights_in_their_own_way(tmp_path):
    path = str(tmp_path / "model.keras")
    model = keras.Sequential([keras.Input((30,)), Halves()])
    with weights_to_files():
        model.save(path)
    with weights_from_files():
        loaded = keras.saving.load_model(path, {"Halves": Halves}, compile=False)
    np.testing.assert_array_equal(loaded.weights[0].numpy(), model.weights[0].numpy())
    assert loaded.weights[1].numpy().any()


@keras.saving.register_keras_serializable("tests")
class Looking(keras.layers.Layer):
    """Sees what lies in a folder while its weights are written and read."""

    folder, seen = ".", ()

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 11))

    def call(self, inputs):
        return inputs @ self.kernel

    def save_own_variables(self, store):
        super().save_own_variables(store)
        type(self).seen += (sorted(os.listdir(self.folder)),)

    def load_own_variables(self, store):
        super().load_own_variables(store)
        type(self).seen += (sorted(os.listdir(self.folder)),)


def test_temporary_copies_lie_beside_the_file(tmp_path, monkeypatch):
    """As docs/memory.md says."""
    monkeypatch.setattr(Looking, "folder", tmp_path)
    monkeypatch.setattr(Looking, "seen", ())
    path = str(tmp_path / "model.keras")
    model = keras.Sequential([keras.Input((30,)), Looking()])
    with weights_to_files():
        model.save(path)
    with weights_from_files():
        keras.saving.load_model(path, compile=False)
    assert len(Looking.seen) == 2
    for names in Looking.seen:
        assert names[0] == "model.keras" and re.fullmatch(r"tmp\w{8}", names[1]), names
    assert os.listdir(tmp_path) == ["model.keras"]


def test_weights_in_several_files_are_read(tmp_path):
    def recurrent():
        layers = [keras.layers.Embedding(30, 6), keras.layers.LSTM(11)]
        return keras.Sequential([keras.Input((4,), dtype="int32"), *layers])

    path, want = str(tmp_path / "model.weights.json"), recurrent()
    # Bytes: the table has 720, the kernels of the LSTM 1,056 and 1,936.
    want.save_weights(path, max_shard_size=2000 / 1024**3)
    assert len(list(tmp_path.glob("*.h5"))) == 3
    with weights_from_files():
        model = recurrent()
        model.load_weights(path)
    for have, weight in zip(model.get_weights(), want.get_weights(), strict=True):
        np.testing.assert_array_equal(have, weight)


@pytest.mark.parametrize("block", [weights_from_files, weights_to_files])
def test_blocks_of_two_threads_do_not_overlap(block):
    """The one that ends last would put back what the other made of Keras."""
    entered, made = threading.Event(), []

    def other():
        with weights_from_files():
            entered.set()
            made.append(make(1).layers[1].kernel.numpy().any())

    thread = threading.Thread(target=other)
    with block():
        thread.start()
        assert not entered.wait(0.5)
    thread.join()
    assert made == [False]
    assert make(1).layers[1].kernel.numpy().any()


def test_other_threads_have_keras_as_it_is():
    made = []
    with weights_from_files():
        thread = threading.Thread(target=lambda: made.append(make(1).get_weights()))
        thread.start()
        thread.join()
    for have, want in zip(made[0], make(1).get_weights(), strict=True):
        np.testing.assert_array_equal(have, want)


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
