"""Two replicas: losses and metrics of one's own."""

import keras

from tests.conformance import samples
from tests.conformance.habit import habit
from tests.conformance.habits.strategies import GROUP, compare, sgd
from tests.conformance.trial import Trial

layers, ops = keras.layers, keras.ops


def mean_error(y_true: object, y_pred: object) -> object:
    """One number for a batch, a mean."""
    return ops.mean(ops.square(y_true - y_pred))


def summed_error(y_true: object, y_pred: object) -> object:
    """One number for a batch, a sum."""
    return ops.sum(ops.square(y_true - y_pred)) / 100


def error_of_rows(y_true: object, y_pred: object) -> object:
    """One number for each row."""
    return ops.log(1 + ops.mean(ops.square(y_true - y_pred), -1))


def contrastive(y_true: object, y_pred: object) -> object:
    """One number for each row, which depends on the targets of all rows."""
    scores = ops.matmul(y_pred, ops.transpose(y_true))
    rows = ops.arange(ops.shape(scores)[0])
    return keras.losses.sparse_categorical_crossentropy(rows, scores, from_logits=True)


class Active(layers.Layer):
    """Adds the mean of its activations to the loss."""

    def call(self, x: object) -> object:
        self.add_loss(0.5 * ops.mean(ops.square(x)))
        return x


class Near(keras.metrics.Metric):
    """The number of errors below a half, for each row."""

    def __init__(self) -> None:
        super().__init__(name="near")
        self.hits = self.add_variable((), "zeros", name="hits")
        self.rows = self.add_variable((), "zeros", name="rows")

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        near = ops.cast(ops.abs(y_true - y_pred) < 0.5, "float32")
        self.hits.assign_add(ops.sum(near))
        self.rows.assign_add(ops.cast(ops.shape(y_true)[0], "float32"))

    def result(self) -> object:
        return self.hits / ops.maximum(self.rows, 1)


class Largest(keras.metrics.Metric):
    """The largest error."""

    def __init__(self) -> None:
        super().__init__(name="largest")
        self.value = self.add_variable((), "zeros", name="value")

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        self.value.assign(ops.maximum(self.value, ops.max(ops.abs(y_true - y_pred))))

    def result(self) -> object:
        return self.value + 0.0


def active() -> keras.Model:
    """Returns a network with a layer that calls `add_loss`."""
    return keras.Sequential(
        [keras.Input((samples.WIDTH,)), layers.Dense(5), Active(), layers.Dense(samples.OUTPUTS)]
    )


@habit(
    GROUP,
    slow=True,
    right="Keras adds up the numbers of the replicas, so the gradient is twice as large",
)
def replicas_mean_loss(trial: Trial) -> None:
    """two replicas: a loss that gives one number for a batch, the mean over its rows"""
    compare(trial, sgd(), loss=mean_error)


@habit(GROUP, slow=True)
def replicas_summed_loss(trial: Trial) -> None:
    """two replicas: a loss that gives one number for a batch, a sum over its rows"""
    compare(trial, sgd(), loss=summed_error)


@habit(GROUP, slow=True)
def replicas_loss_of_rows(trial: Trial) -> None:
    """two replicas: a loss of one's own, of each row"""
    compare(trial, sgd(), loss=error_of_rows)


@habit(GROUP, refused=True)
def replicas_contrastive_loss(trial: Trial) -> None:
    """two replicas: a loss of each row that looks at other rows of the batch"""
    compare(trial, sgd(), loss=contrastive)


@habit(GROUP, slow=True)
def replicas_add_loss(trial: Trial) -> None:
    """two replicas: a layer that calls `add_loss` with a mean over its rows"""
    compare(trial, sgd(), network=active)


@habit(GROUP, slow=True)
def replicas_own_metric(trial: Trial) -> None:
    """two replicas: a metric of one's own that counts sums"""
    compare(trial, sgd(), metrics=lambda: [Near(), error_of_rows])


@habit(GROUP, slow=True)
def replicas_metric_of_a_batch(trial: Trial) -> None:
    """two replicas: a metric function of one number for a batch"""
    compare(trial, sgd(), metrics=lambda: [mean_error])


@habit(GROUP, refused=True, slow=True)
def replicas_largest_metric(trial: Trial) -> None:
    """two replicas: a metric of one's own that is the largest value"""
    compare(trial, sgd(), metrics=lambda: [Largest()])
