"""Models that override how Keras trains, and mistakes."""

import keras
import tensorflow as tf

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

OWN = "Models with their own steps"
MISTAKES = "Mistakes, which are an error on both sides"
X, Y = samples.regression()
FIT = {"batch_size": 8, "epochs": 2, "batches": False}
layers = keras.layers


class Two(keras.Model):
    """A subclassed model of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs: object) -> object:
        return self.dense(inputs)


@habit(OWN, refused=True)
def own_train_step(trial: Trial) -> None:
    """a network that overrides `train_step`"""

    class Own(Two):
        def train_step(self, data: object) -> object:
            logs = super().train_step(data)
            logs["own"] = 10.0
            return logs

    trial.fit(trial.compiled(Own()), X, Y, **FIT)


@habit(OWN, refused=True)
def own_gradient_step(trial: Trial) -> None:
    """a network whose `train_step` has a `GradientTape` of its own"""

    class Own(Two):
        def train_step(self, data: object) -> object:
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss}

    trial.fit(trial.compiled(Own()), X, Y, **FIT)


@habit(OWN, refused=True)
def own_test_step(trial: Trial) -> None:
    """a network that overrides `test_step`"""

    class Own(Two):
        def test_step(self, data: object) -> object:
            return {**super().test_step(data), "own": 5.0}

    model = trial.compiled(Own())
    trial.evaluate(model, X, Y, return_dict=True)


class PenalizedLoss:
    """Adds a penalty to the loss, and counts it in a metric of its own."""

    def compute_loss(
        self,
        x: object = None,
        y: object = None,
        y_pred: object = None,
        sample_weight: object = None,
        training: bool = True,
    ) -> object:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + 0.1 * keras.ops.mean(keras.ops.square(y_pred))


class MoreLogs:
    """Adds a number to the logs."""

    def compute_metrics(
        self, x: object, y: object, y_pred: object, sample_weight: object = None
    ) -> dict[str, object]:
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**results, "largest": keras.ops.max(y_pred)}


class OlderLoss:
    """Overrides `compute_loss` without its argument `training`."""

    def compute_loss(
        self,
        x: object = None,
        y: object = None,
        y_pred: object = None,
        sample_weight: object = None,
    ) -> object:
        return 2 * super().compute_loss(x, y, y_pred, sample_weight)


class CountedLoss:
    """Has a metric of its own, which `compute_loss` updates."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.own = keras.metrics.Mean(name="own")

    def compute_loss(self, *arguments: object, **options: object) -> object:
        loss = super().compute_loss(*arguments, **options)
        self.own.update_state(loss * 4)
        return loss


@habit(OWN, refused=True)
def own_loss_of_network(trial: Trial) -> None:
    """a network that overrides `compute_loss`"""

    class Own(PenalizedLoss, Two):
        pass

    trial.fit(trial.compiled(Own()), X, Y, **FIT)


@habits(
    OWN,
    {
        "a penalty in compute_loss": PenalizedLoss,
        "more logs by compute_metrics": MoreLogs,
        "a metric of its own": CountedLoss,
        "compute_loss without training": OlderLoss,
    },
)
def own_model(trial: Trial, overrides: type) -> None:
    """a subclass of `keras.Model`, here of `tfscale.Model`, with {}"""
    model = trial.own_model(Two, overrides)
    model.compile("sgd", "mse", metrics=["mae"], jit_compile=False)
    trial.fit(model, X, Y, validation_data=(X, Y), **FIT)
    trial.evaluate(model, X, Y, return_dict=True)


@habit(MISTAKES)
def fit_before_compile(trial: Trial) -> None:
    """`fit` before `compile`"""
    model = trial.model(samples.dense())
    trial.error(lambda: model.fit(X, Y, verbose=0))


@habit(MISTAKES)
def evaluate_before_compile(trial: Trial) -> None:
    """`evaluate` before `compile`"""
    model = trial.model(samples.dense())
    trial.error(lambda: model.evaluate(X, Y, verbose=0))


@habit(MISTAKES)
def no_loss_given(trial: Trial) -> None:
    """`compile` without a loss, for a network that adds none"""
    model = trial.compiled(samples.dense(), None)
    trial.error(lambda: model.fit(X, Y, verbose=0))


@habit(MISTAKES)
def wrong_width(trial: Trial) -> None:
    """inputs of a wrong width"""
    model = trial.compiled(samples.dense())
    trial.error(lambda: model.fit(X[:, :3], Y, verbose=0))


@habit(MISTAKES)
def rows_that_differ(trial: Trial) -> None:
    """inputs and targets of different numbers of rows"""
    model = trial.compiled(samples.dense())
    trial.error(lambda: model.fit(X, Y[:-1], verbose=0))


@habit(MISTAKES)
def wrong_targets(trial: Trial) -> None:
    """targets of a shape that does not fit the outputs"""
    model = trial.compiled(samples.dense(), "categorical_crossentropy")
    trial.error(lambda: model.fit(X, Y[:, :2], verbose=0))


@habit(MISTAKES)
def unknown_names(trial: Trial) -> None:
    """an unknown name of an optimizer or of a loss"""
    model = trial.model(samples.dense())
    trial.error(lambda: model.compile("adamm", "mse"))
    model.compile("adam", "msee")
    trial.error(lambda: model.fit(X, Y, verbose=0))


@habit(MISTAKES)
def targets_beside_dataset(trial: Trial) -> None:
    """`y` beside a dataset"""
    model = trial.compiled(samples.dense())
    trial.error(lambda: model.fit(samples.dataset(X, Y), Y, verbose=0))


@habit(MISTAKES)
def unknown_argument(trial: Trial) -> None:
    """an argument that `fit` does not have"""
    model = trial.compiled(samples.dense())
    trial.error(lambda: model.fit(X, Y, epoch=3))


@habit(MISTAKES)
def empty_generator(trial: Trial) -> None:
    """a generator without a batch"""
    model = trial.compiled(samples.dense())
    trial.error(lambda: model.fit((batch for batch in ()), verbose=0))


@habit(MISTAKES)
def wrong_loss_names(trial: Trial) -> None:
    """losses by names that the network's outputs do not have"""
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(), {"value": "mse", "sort": "mse"})
    trial.error(lambda: model.fit(x, targets, verbose=0))


@habit(MISTAKES)
def split_of_dataset(trial: Trial) -> None:
    """`validation_split` of a dataset"""
    model = trial.compiled(samples.dense())
    trial.error(lambda: model.fit(samples.dataset(X, Y), validation_split=0.2, verbose=0))


class Faulty(keras.utils.PyDataset):
    """Batches, one of which cannot be read."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> object:
        if index == 1:
            raise OSError("the file is gone")
        return X[:8], Y[:8]


@habit(MISTAKES)
def faulty_py_dataset(trial: Trial) -> None:
    """a PyDataset that raises an error of its own"""
    model = trial.compiled(samples.dense())
    trial.error(lambda: model.fit(Faulty(), verbose=0))


@habit(MISTAKES)
def targets_beside_generator(trial: Trial) -> None:
    """`y` beside a generator"""
    model = trial.compiled(samples.dense())
    trial.error(lambda: model.fit(iter([(X, Y)]), Y, verbose=0))


@habit(MISTAKES)
def weights_of_classes_without_numbers(trial: Trial) -> None:
    """a `class_weight` that is no dict of numbers"""
    model = trial.compiled(samples.dense(1, "sigmoid"), "binary_crossentropy")
    trial.error(lambda: model.fit(*samples.binary(), class_weight=[0.5, 2.0], verbose=0))
