"""Subclasses of `tfscale.Model` that keep a loss of their own, as Keras's guides write them."""

import keras
import numpy as np
import pytest

import tfscale
from tests.slow import slow_but

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(18, 3)).astype("float32")
Y = X.sum(1, keepdims=True)
FIT = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}


def squares(y, y_pred):
    return keras.ops.mean(keras.ops.square(y - y_pred))


class Beside:
    """Has a metric `loss_tracker` beside Keras's own; a mean of batches."""

    def follow(self):
        self.loss_tracker = keras.metrics.Mean(name="own_loss")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = squares(y, y_pred)
        self.loss_tracker.update_state(loss)
        return loss


class Instead(Beside):
    """Logs a mean of its own instead of Keras's."""

    def follow(self):
        self.loss_tracker = keras.metrics.Mean(name="loss")

    def reset_metrics(self):
        self.loss_tracker.reset_state()

    @property
    def metrics(self):
        return [self.loss_tracker]


def fitted(kind, base, **options):
    """Returns history, scores and weights."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    network = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    made = type("Own", (kind, base), {})
    if base is keras.Model:
        model = made(network.inputs, network.outputs)
    else:
        model = made(network)
    model.follow()
    model.compile(keras.optimizers.SGD(0.05), **options)
    history = model.fit(X, Y, **FIT).history
    scores = model.evaluate(X, Y, batch_size=4, verbose=0, return_dict=True)
    return history, scores, network.get_weights()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, where",
    slow_but(
        [
            (kind, where)
            for kind in (Beside, Instead)
            for where in ("one device", "micro-batches", "two replicas")
        ],
        (Instead, "micro-batches"),
        (Beside, "two replicas"),
    ),
)
def test_a_loss_tracker_of_ones_own_gives_what_keras_gives(kind, where):
    stock = fitted(kind, keras.Model)
    strategy = tfscale.strategy("mirrored" if where == "two replicas" else "single")
    with strategy.scope():
        options = {"micro_batches": 2} if where == "micro-batches" else {}
        ours = fitted(kind, tfscale.Model, **options)
    for found, wanted in zip(ours[:2], stock[:2], strict=True):
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5)
    for weight, wanted in zip(ours[2], stock[2], strict=True):
        np.testing.assert_allclose(weight, wanted, rtol=1e-5, atol=1e-6)
    # 18 rows: Keras's mean counts rows, that of batches counts the last 2 rows like 4.
    if kind is Beside:
        assert stock[1]["loss"] != pytest.approx(stock[1]["own_loss"])


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (tfscale.Model, "train_step"),
        (tfscale.LanguageModel, "train_step"),
        (tfscale.LanguageModel, "test_step"),
        (tfscale.LanguageModel, "compute_loss"),
        (tfscale.LanguageModel, "compute_metrics"),
    ],
)
def test_what_would_not_be_called_is_refused(base, name):
    own = type("Own", (base,), {name: lambda self, *args, **kwargs: {"loss": 0.0}})
    ids = keras.Input((None,), dtype="int32")
    model = own(keras.Model(ids, keras.layers.Embedding(9, 9)(ids)))
    with pytest.raises(
        tfscale.ConfigError, match=f"^Own overrides {name}, which would not be called: .*tfscale"
    ):
        model.compile("sgd")


def test_the_steps_of_evaluate_and_predict_are_called_on_one_device_alone():
    class Own(tfscale.Model):
        def test_step(self, data):
            return {"own": 7.0}

    def made():
        return Own(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))

    model = made()
    model.compile("sgd", loss="mse")
    assert model.evaluate(X, Y, verbose=0, return_dict=True) == {"own": 7.0}
    with tfscale.strategy("mirrored").scope():
        several = made()
        with pytest.raises(tfscale.ConfigError, match="^Own overrides test_step"):
            several.compile("sgd", loss="mse")
