"""Arguments of Keras's `compile`, `fit` and `evaluate`: taken, or refused with what to do instead."""

import keras
import numpy as np
import pytest
import tf_keras

from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError
from tfscale.training.language_model import LanguageModel
from tfscale.training.model import Model

V = 16
layers = keras.layers
CrossEntropy = keras.losses.SparseCategoricalCrossentropy
STREAM = np.random.default_rng(0).integers(0, V, (40, 7))
X, Y = STREAM[:, :-1], STREAM[:, 1:]


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [layers.Input((None,)), layers.Embedding(V, 4), layers.Dense(V)], name="mine"
    )


def language_model(**options):
    model = LanguageModel(network())
    model.compile("sgd", xla=False, **options)
    return model


@pytest.mark.parametrize(
    "options,message",
    [
        ({"loss_weights": [1.0]}, "does not take loss_weights; there is one loss"),
        ({"run_eagerly": True}, "does not take run_eagerly; the step is always compiled"),
        ({"loss": "mse"}, "the next token's cross-entropy .* tfscale.Model; received 'mse'"),
        (
            {"loss": "sparse_categorical_crossentropy"},
            r"\(from_logits=True\) \(the name alone is that of probabilities\); received 'sparse",
        ),
        ({"loss": CrossEntropy()}, "received one with from_logits=False"),
        ({"loss": CrossEntropy(from_logits=True, reduction="sum")}, "received reduction='sum'"),
        ({"loss": CrossEntropy(from_logits=True, ignore_class=0)}, "ignore_class=0, a token id"),
        ({"nonsense": 1}, "^compile does not take nonsense$"),
        ({"steps_per_execution": "auto"}, "from 1 on; received 'auto'"),
    ],
)
def test_compile_names_the_counterpart(options, message):
    with pytest.raises(ConfigError, match=message):
        language_model(**options)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"validation_split": 0.99}, "validation_split=0.99 leaves nothing .* of 40 rows"),
        ({"class_weight": {V: 2.0}}, "class_weight names 16, which is no token id, 0 to 15"),
        ({"class_weight": {"a": 2.0}}, "class_weight names 'a', which is no token id"),
        ({"class_weight": {0: -1.0}}, r"not negative; class_weight\[0\] is -1.0"),
        ({"class_weight": [1.0]}, "class_weight is a dictionary of token id -> weight"),
        ({"validation_data": (X, Y), "validation_freq": 0}, "validation_freq is .*; received 0"),
        ({"shuffle": "batch"}, "fit does not take shuffle; shuffle=True shuffles all rows"),
        (
            {"callbacks": ["EarlyStopping"]},
            "callbacks are objects of keras.callbacks.Callback; received 'EarlyStop",
        ),
        ({"validation_data": [X]}, "validation_data must be a dataset or .*; received 1 parts"),
    ],
)
def test_fit_says_what_to_do_instead(options, message):
    with pytest.raises(ConfigError, match=message):
        language_model().fit(X, Y, verbose=0, **options)


def test_arguments_that_ask_for_nothing_are_taken():
    model = language_model(
        loss=None, metrics=[], run_eagerly=False, jit_compile="auto", steps_per_execution=1
    )
    model.compile("sgd", CrossEntropy(from_logits=True, ignore_class=-100), jit_compile=False)
    assert not model.train_step_runner.options.xla
    model.fit(X, Y, verbose=0, validation_split=0.0, class_weight=None, validation_freq=1)


def test_a_single_callback_and_validation_data_in_a_list():
    model = language_model()
    stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=0)
    history = model.fit(X, Y, epochs=5, verbose=0, callbacks=stop, validation_data=[X, Y]).history
    assert len(history["loss"]) == 2
    assert history["val_loss"][-1] == model.evaluate(X, Y)["loss"]


def test_arrays_are_repeated_for_steps_per_epoch():
    options = {"batch_size": 8, "steps_per_epoch": 2, "epochs": 3, "verbose": 0, "shuffle": False}
    seen = language_model().fit(X, Y, **options).history["loss"]
    order = [*range(40), *range(8)]
    assert len(seen) == 3
    assert seen == language_model().fit(X[order], Y[order], **options).history["loss"]


@pytest.mark.parametrize("data", [object, lambda: {"x": X, "y": Y}])
def test_other_containers_are_named(data):
    model = language_model()
    for call in (model.fit, model.evaluate):
        with pytest.raises(ConfigError, match=r"no (object|dict); .*from_generator"):
            call(data(), Y)


def test_weights_frozen_after_compile():
    model = language_model()
    model.network.layers[0].trainable = False
    with pytest.raises(
        ConfigError,
        match="other weights of model 'mine' are trainable than at compile .* call compile",
    ):
        model.fit(X, Y, verbose=0)
    model.compile("sgd", xla=False)
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("model_class", [LanguageModel, Model])
def test_an_optimizer_goes_on_with_its_own_weights_alone(model_class):
    """Keras takes one at compile, and fails in the first step with 20 lines."""
    net = network()
    loss, optimizer = CrossEntropy(from_logits=True), keras.optimizers.Adam()
    net.layers[0].trainable = False
    model = model_class(net)
    model.compile(optimizer, loss, xla=False)
    net.layers[1].trainable = False
    net.layers[0].trainable = True
    with pytest.raises(
        ConfigError, match="no state for 'mine/embedding.*/embeddings' .* a new opt"
    ):
        model.compile(optimizer, loss, xla=False)
    net.layers[0].trainable, net.layers[1].trainable = False, True
    model.compile(optimizer, loss, xla=False)


def test_steps_of_an_execution_are_a_number():
    with pytest.raises(ConfigError, match="whole number of steps from 1 on; received 0"):
        Model(network()).compile("sgd", "mse", steps_per_execution=0)


def test_networks_that_no_step_can_update():
    with strategy("mirrored").scope():
        inside = network()
        with pytest.raises(ConfigError, match="were not made in the scope of one strategy"):
            language = LanguageModel(OUTSIDE)
            language.compile("sgd")
    with pytest.raises(ConfigError, match="were not made in the scope of one strategy"):
        LanguageModel(inside).compile("sgd")
    with pytest.raises(
        ConfigError, match="model 'unbuilt' is not built yet: call it once on a batch"
    ):
        LanguageModel(keras.Sequential([layers.Embedding(V, 4)], name="unbuilt")).compile("sgd")
    with pytest.raises(ConfigError, match="is Keras 2 .*: build it with `import keras`"):
        LanguageModel(tf_keras.Sequential([tf_keras.layers.Embedding(V, 4)]))


OUTSIDE = network()
