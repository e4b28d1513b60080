"""A strategy of one replica, as of one GPU, trains inside of its scope as outside, and as stock Keras does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tests.slow import slow_but
from tests.training.tiny import CONFIGS
from tfscale import models

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(19, 4)).astype("float32"), RNG.normal(size=(19, 1)).astype("float32")
ONE_REPLICA = {
    "mirrored": lambda: tf.distribute.MirroredStrategy(["CPU:0"]),
    "one device": lambda: tf.distribute.OneDeviceStrategy("CPU:0"),
    "one worker": tf.distribute.MultiWorkerMirroredStrategy,
}


def network():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])


def results(wrap, **options):
    """Losses of a fit with a smaller last batch, of a batch and of an evaluation; a prediction."""
    model = wrap(network())
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"], **options)
    fitted = model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    keywords = {"return_dict": True}
    batch = model.train_on_batch(X[:8], Y[:8], **keywords)
    tested = model.evaluate(X, Y, batch_size=8, verbose=0, **keywords)
    numbers = [*fitted.history["loss"], *batch.values(), *tested.values()]
    return [np.array(numbers), model.predict(X, verbose=0), *model.get_weights()[:4]]


@pytest.fixture(scope="module")
def wanted():
    return results(lambda net: net)


@pytest.mark.parametrize(
    "name, options",
    [(name, {}) for name in ONE_REPLICA]
    + [("mirrored", {"micro_batches": 2}), ("mirrored", {"xla": True})],
)
def test_model_in_the_scope(name, options, wanted):
    with ONE_REPLICA[name]().scope():
        found = results(tfscale.Model, **{"xla": False} | options)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def test_variables_of_a_scope_stay_the_strategys():
    one = ONE_REPLICA["mirrored"]()
    with one.scope():
        results(tfscale.Model, xla=False)
        assert tf.distribute.get_strategy() is one
        assert tf.distribute.in_cross_replica_context()


@pytest.mark.parametrize("kind", slow_but(["transformer", "lstm"], "lstm"))
def test_language_model_in_the_scope(kind, windows):
    def losses():
        model = tfscale.LanguageModel(models.build_network(CONFIGS[kind]))
        model.compile(keras.optimizers.SGD(0.1), xla=False)
        fitted = model.fit(*windows, batch_size=16, epochs=2, verbose=0, validation_data=windows)
        return fitted.history["loss"] + fitted.history["val_loss"]

    wanted = losses()
    with ONE_REPLICA["mirrored"]().scope():
        found = losses()
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
