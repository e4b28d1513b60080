"""What `fit`, `evaluate` and the `_on_batch` methods of a `LanguageModel` read."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tests.slow import slow_but
from tfscale.errors import ConfigError, DataError
from tfscale.training.feeding import validation_batches

V, T, ROWS = 16, 6, 20
STREAM = np.random.default_rng(0).integers(0, V, (ROWS, T + 1)).astype("int32")
X, Y = STREAM[:, :-1], STREAM[:, 1:]
slices = tf.data.Dataset.from_tensor_slices


def language_model(where="single", **options):
    with tfscale.strategy(where).scope():
        keras.utils.set_random_seed(0)
        layers = keras.layers
        network = keras.Sequential(
            [keras.Input((None,), dtype="int32"), layers.Embedding(V, 8), layers.Dense(V)]
        )
        model = tfscale.LanguageModel(network)
        model.compile(keras.optimizers.SGD(0.5), xla=False, **options)
    return model


def losses(*data, **options):
    """The history of a fresh model in the order of the rows, or what is said otherwise."""
    given = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return language_model().fit(*data, **given).history


def batches():
    for start in range(0, ROWS, 8):
        yield X[start : start + 8], Y[start : start + 8]


class Batches(keras.utils.PyDataset):
    """Three batches; notes the beginnings and ends of epochs."""

    def __init__(self, count=3, **options):
        super().__init__(**options)
        self.count, self.notes = count, []

    @property
    def num_batches(self):
        return self.count

    def __getitem__(self, index):
        rows = slice(8 * (index % 3), 8 * (index % 3) + 8)
        return X[rows], Y[rows]

    def on_epoch_begin(self):
        self.notes.append("begin")

    def on_epoch_end(self):
        self.notes.append("end")


@pytest.fixture(scope="module")
def of_arrays():
    return losses(X, Y), language_model().evaluate(X, Y, batch_size=8, verbose=0)


@pytest.mark.parametrize(
    "data",
    [
        lambda: ([X], [Y]),
        lambda: ({"ids": X}, Y),
        lambda: (slices(({"ids": X}, (Y,))).batch(8),),
        lambda: (iter(list(batches())),),
        lambda: ([list(batch) for batch in batches()].__iter__(),),
        lambda: (batches(),),
        lambda: (Batches(),),
        lambda: (Batches(workers=2),),
        lambda: (((x, y, None) for x, y in batches()),),
    ],
)
def test_containers_of_the_same_rows(data, of_arrays):
    fitted, wanted = of_arrays
    assert losses(*data())["loss"] == pytest.approx(fitted["loss"], rel=1e-6)
    assert language_model().evaluate(*data(), batch_size=8, verbose=0) == pytest.approx(wanted)


def test_a_generator_for_several_epochs_is_read_on():
    def twice():
        yield from batches()
        yield from batches()

    two = losses(X, Y, epochs=2)["loss"]
    assert losses(twice(), steps_per_epoch=3, epochs=2)["loss"] == pytest.approx(two)
    with pytest.raises(ConfigError, match="read once, and there are 2 epochs: give steps_per_ep"):
        losses(batches(), epochs=2)
    with pytest.raises(DataError, match="ended before 4 steps were taken"):
        losses(batches(), steps_per_epoch=4)


def test_a_py_dataset_is_told_of_epochs():
    data = Batches()
    losses(data, epochs=2)
    assert data.notes == ["end", "begin", "end", "begin", "end"]  # as Keras calls them
    two = losses(X, Y, epochs=2)["loss"]
    assert losses(Batches(), epochs=2)["loss"] == pytest.approx(two)
    assert losses(Batches(None), epochs=2, steps_per_epoch=3)["loss"] == pytest.approx(two)
    with pytest.raises(ConfigError, match="PyDataset has no end .*: give steps_per_epoch"):
        losses(Batches(None))


@pytest.mark.parametrize(
    "data, error, message",
    [
        (lambda: (batches(), Y), ConfigError, "y and sample_weight are part of what the generator"),
        (lambda: (iter([]),), DataError, "the list_iterator gives no batches"),
        (lambda: (iter([(X,)]),), DataError, r"must give \(ids, targets\)"),
        (lambda: (iter([(X[0], Y[0])]),), DataError, r"ids must be \(B, T\)"),
        (lambda: (iter([([X, X], Y)]),), DataError, "the dataset's ids are 2 tensors"),
        (lambda: (iter([(X + V, Y)]),), DataError, "id .* is outside of the model's vocabulary"),
    ],
)
def test_what_generators_must_not_give(data, error, message):
    for call in (language_model().fit, language_model().evaluate):
        with pytest.raises(error, match=message) as caught:
            call(*data(), verbose=0)
        assert "\n" not in str(caught.value)


def test_validation_split_takes_the_last_rows():
    weights = np.linspace(0.5, 1.5, ROWS).astype("float32")
    found = losses(X, Y, sample_weight=weights, validation_split=0.3)
    parts = {"sample_weight": weights[:14], "validation_data": (X[14:], Y[14:], weights[14:])}
    wanted = losses(X[:14], Y[:14], **parts)
    assert {**found, "tokens_per_second": 0} == {**wanted, "tokens_per_second": 0}
    with pytest.raises(ConfigError, match="validation_split divides arrays"):
        losses(slices((X, Y)).batch(8), validation_split=0.3)


@pytest.mark.parametrize("frequency, epochs", [(2, [1, 3]), ([1, 4], [0, 3]), (9, [])])
def test_validation_freq(frequency, epochs):
    seen = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(epoch) if "val_loss" in logs else None
    )
    options = {"validation_freq": frequency, "validation_batch_size": 5}
    losses(X, Y, epochs=4, validation_data=(X, Y), callbacks=note, **options)
    assert seen == epochs


def test_class_weight_is_that_of_each_target():
    table = np.ones(V, "float32")
    table[[3, 7]] = 0.0, 2.5
    by_class = {"class_weight": {3: 0.0, 7: 2.5}}
    each = losses(X, Y, sample_weight=table[Y])["loss"]
    assert losses(X, Y, **by_class)["loss"] == pytest.approx(each)
    assert losses(Batches(), **by_class)["loss"] == pytest.approx(each)
    rows = np.linspace(0.5, 1.5, ROWS).astype("float32")
    both = losses(X, Y, sample_weight=rows[:, None] * table[Y], validation_data=(X, Y))
    found = losses(X, Y, sample_weight=rows, validation_data=(X, Y), **by_class)
    assert found["loss"] == pytest.approx(both["loss"])
    assert found["val_loss"] == pytest.approx(both["val_loss"])


@pytest.mark.parametrize("where", slow_but(["single", "mirrored"], "mirrored"))
def test_steps_on_batches_are_those_of_fit(where):
    model, wanted = language_model(where, metrics=["accuracy"]), language_model(where)
    for rows in (slice(8), slice(8, 20)):
        loss, accuracy = model.train_on_batch(X[rows], Y[rows], class_weight={3: 2.0})
        fitted = wanted.fit(X[rows], Y[rows], class_weight={3: 2.0}, verbose=0, batch_size=12)
        assert loss == pytest.approx(fitted.history["loss"][0])
    assert 0 <= accuracy <= 1
    for one, other in zip(model.get_weights(), wanted.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)
    evaluated = wanted.evaluate(X[:7], Y[:7], verbose=0)
    assert wanted.test_on_batch(X[:7], Y[:7]) == pytest.approx(evaluated["loss"])
    tested = model.test_on_batch(X[:7], Y[:7], return_dict=True)
    assert tested["perplexity"] == pytest.approx(evaluated["perplexity"], rel=1e-6)
    np.testing.assert_allclose(model.predict_on_batch(X[:4]), model.network(X[:4]), atol=1e-6)
    np.testing.assert_allclose(model.predict(X, verbose=0), model.network(X), atol=1e-6)


def test_evaluate_calls_callbacks_and_gives_lists_when_asked(capsys):
    calls = []

    class Watch(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            calls.append("begin")

        def on_test_batch_end(self, batch, logs=None):
            calls.append((batch, sorted(logs)))

        def on_test_end(self, logs=None):
            calls.append(sorted(logs))

    model = language_model(metrics=["accuracy"])
    names = ["accuracy", "loss", "perplexity"]
    options = {"batch_size": 10, "callbacks": [Watch()]}
    found = model.evaluate(X, Y, verbose=0, **options)
    assert calls == ["begin", (0, names), (1, names), names]
    assert capsys.readouterr().out == ""
    listed = model.evaluate(X, Y, batch_size=10, return_dict=False)
    assert listed == [found["loss"], found["accuracy"]]
    assert "2/2" in capsys.readouterr().out
    assert language_model().evaluate(X, Y, verbose=0, return_dict=False) == pytest.approx(
        found["loss"]
    )
    calls.clear()
    losses(X, Y, validation_data=(X, Y), callbacks=[Watch()])
    assert calls[0] == "begin" and len(calls) == 5


def test_before_compile():
    network = keras.Sequential([keras.Input((None,)), keras.layers.Embedding(V, V)])
    model = tfscale.LanguageModel(network)
    assert set(model.evaluate(X, Y, verbose=0)) == {"loss", "perplexity", "tokens"}
    for call in (model.fit, model.train_on_batch):
        with pytest.raises(ConfigError, match=r"call compile\(optimizer, ...\) before"):
            call(X, Y)


def test_validation_batches_are_filled_up_for_every_replica():
    """Of 5 rows on 2 replicas or workers, each takes 3 of 6."""
    with tfscale.strategy("mirrored").scope():
        replicas = tf.distribute.get_strategy()
    for data in ((X[:5], Y[:5]), slices((X[:5], Y[:5])).batch(5, drop_remainder=True)):
        [batch] = validation_batches(data, 32, replicas)
        assert [part.shape for part in batch] == [(6, T)] * 3
        assert batch[2].numpy().sum() == 5 * T
