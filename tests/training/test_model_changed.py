"""A `Model` that was changed after `compile` or is saved as what Keras cannot read: one line each."""

import keras
import numpy as np
import pytest

import tfscale
from tests.conformance import samples
from tfscale.errors import ConfigError

X, Y = samples.labelled()


def compiled():
    keras.utils.set_random_seed(1)
    model = tfscale.Model(samples.classifier())
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    return model


def another_optimizer(model):
    model.optimizer = keras.optimizers.SGD(0.0)
    return "^model.optimizer is another optimizer than at compile"


def another_network(model):
    model.network = samples.classifier()
    return "^model.network is another network than at compile"


def frozen(model):
    model.network.layers[0].trainable = False
    return "^other weights of model .* are trainable than at compile"


@pytest.mark.parametrize("change", [another_optimizer, another_network, frozen])
@pytest.mark.parametrize("trained_before", [False, True])
def test_changes_after_compile_are_refused_and_taken_by_another_compile(change, trained_before):
    model = compiled()
    if trained_before:
        model.fit(X, Y, verbose=0)
    first = model.network.layers[0] if change is frozen else None
    message = change(model)
    before = model.network.get_weights()
    for train in (lambda: model.fit(X, Y, verbose=0), lambda: model.train_on_batch(X, Y)):
        with pytest.raises(ConfigError, match=message):
            train()
    for one, other in zip(before, model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    optimizer = "sgd" if change is not another_optimizer else keras.optimizers.SGD(0.0)
    model.compile(optimizer, loss="sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    changed = [
        not np.array_equal(a, b) for a, b in zip(before, model.network.get_weights(), strict=True)
    ]
    assert changed == (
        [change is not another_optimizer] * 4 if first is None else [False] * 2 + [True] * 2
    )


def test_a_learning_rate_that_is_set_is_no_other_optimizer():
    model = compiled()
    model.fit(X, Y, verbose=0)
    model.optimizer.learning_rate = 0.0
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5"])
@pytest.mark.parametrize("wrap", [tfscale.Model, tfscale.LanguageModel])
def test_hdf5_that_keras_cannot_load_is_not_written(name, wrap, tmp_path):
    model = wrap(keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(4, 4)]))
    with pytest.raises(ConfigError, match=rf"{name}' would be HDF5, .*: take a name that ends in"):
        model.save(tmp_path / name)
    assert not list(tmp_path.iterdir())
    model.save(tmp_path / "model.keras")
    assert type(keras.models.load_model(tmp_path / "model.keras")) is wrap
