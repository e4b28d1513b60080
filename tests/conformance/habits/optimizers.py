"""Optimizers and what they take: schedules, clipping, decay, averages, accumulation."""

from collections.abc import Callable

import keras
import numpy as np

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Optimizers"
X, Y = samples.regression()
optimizers = keras.optimizers
schedules = keras.optimizers.schedules
NAMES = (
    "SGD RMSprop Adam AdamW Adadelta Adagrad Adamax Adafactor Nadam Ftrl Lion Lamb Muon"
).split()
DEFAULT = {"batch_size": 8, "epochs": 3, "batches": False}


@habits(
    GROUP,
    {name: name for name in NAMES},
)
def optimizer(trial: Trial, name: str) -> None:
    """the optimizer {}"""
    chosen = getattr(optimizers, name)()
    trial.fit(trial.compiled(samples.dense(), optimizer=chosen), X, Y, **DEFAULT)


@habits(
    GROUP,
    {
        "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        "clipnorm": lambda: optimizers.SGD(0.5, clipnorm=0.05),
        "clipvalue": lambda: optimizers.SGD(0.5, clipvalue=0.02),
        "global_clipnorm": lambda: optimizers.Adam(0.05, global_clipnorm=0.05),
        "weight_decay": lambda: optimizers.AdamW(0.05, weight_decay=0.2),
        "amsgrad": lambda: optimizers.Adam(0.05, amsgrad=True),
        "a small learning rate": lambda: optimizers.Adam(1e-4, beta_1=0.5, epsilon=1e-3),
        "gradient_accumulation_steps": lambda: optimizers.SGD(0.1, gradient_accumulation_steps=2),
        "accumulation and clipping": lambda: optimizers.Adam(
            0.05, gradient_accumulation_steps=2, global_clipnorm=0.1
        ),
        "use_ema": lambda: optimizers.SGD(0.2, use_ema=True, ema_momentum=0.5),
        "ema_overwrite_frequency": lambda: optimizers.SGD(
            0.2, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2
        ),
        "loss_scale_factor": lambda: optimizers.SGD(0.1, loss_scale_factor=8.0),
        "a scaled loss": lambda: optimizers.LossScaleOptimizer(
            optimizers.Adam(0.05), initial_scale=64.0, dynamic_growth_steps=2
        ),
    },
    refused=("loss_scale_factor", "a scaled loss"),
)
def optimizer_with(trial: Trial, make: Callable[[], optimizers.Optimizer]) -> None:
    """an optimizer with {}"""
    trial.fit(trial.compiled(samples.dense(), optimizer=make()), X, Y, **DEFAULT)
    # The averages or the steps that are held back go on in the next run.
    trial.fit(trial.models[0], X, Y, batch_size=8, batches=False)


@habits(
    GROUP,
    {
        "exponential": lambda: schedules.ExponentialDecay(0.2, 2, 0.5),
        "cosine with warm-up": lambda: schedules.CosineDecay(
            0.01, 6, warmup_target=0.2, warmup_steps=3
        ),
        "cosine with restarts": lambda: schedules.CosineDecayRestarts(0.2, 3),
        "piecewise": lambda: schedules.PiecewiseConstantDecay([2, 5], [0.2, 0.1, 0.05]),
        "polynomial": lambda: schedules.PolynomialDecay(0.2, 5, 0.01, power=2.0),
        "inverse time": lambda: schedules.InverseTimeDecay(0.2, 1, 0.5),
    },
)
def schedule(trial: Trial, make: Callable[[], schedules.LearningRateSchedule]) -> None:
    """a learning-rate schedule: {}"""
    model = trial.compiled(samples.dense(), optimizer=optimizers.SGD(make()))
    trial.fit(model, X, Y, **DEFAULT)


@habit(GROUP, slow=True)
def own_schedule(trial: Trial) -> None:
    """a learning-rate schedule of one's own class"""

    class Halves(schedules.LearningRateSchedule):
        def __call__(self, step: object) -> object:
            return 0.3 * 0.5 ** keras.ops.cast(step, "float32")

    model = trial.compiled(samples.dense(), optimizer=optimizers.SGD(Halves()))
    trial.fit(model, X, Y, **DEFAULT)


@habit(GROUP, slow=True)
def own_optimizer(trial: Trial) -> None:
    """an optimizer of one's own class"""

    class Sign(optimizers.Optimizer):
        def update_step(self, gradient: object, variable: object, learning_rate: object) -> None:
            rate = keras.ops.cast(learning_rate, variable.dtype)
            self.assign_sub(variable, rate * keras.ops.sign(gradient))

    model = trial.compiled(samples.dense(), optimizer=Sign(0.01))
    trial.fit(model, X, Y, **DEFAULT)


@habit(GROUP, slow=True)
def callable_rate(trial: Trial) -> None:
    """a function without arguments as learning rate"""
    model = trial.compiled(samples.dense(), optimizer=optimizers.SGD(lambda: 0.07))
    trial.fit(model, X, Y, **DEFAULT)


@habit(GROUP, slow=True)
def excluded_from_decay(trial: Trial) -> None:
    """`exclude_from_weight_decay` of biases"""
    adamw = optimizers.AdamW(0.05, weight_decay=0.5)
    adamw.exclude_from_weight_decay(var_names=["bias"])
    trial.fit(trial.compiled(samples.dense(), optimizer=adamw), X, Y, **DEFAULT)


@habit(GROUP)
def several_optimizers(trial: Trial) -> None:
    """`MultiOptimizer`: another optimizer for some of the weights"""
    network = samples.dense()
    first = network.layers[0].name
    chosen = optimizers.OptimizerMap(optimizers.SGD(0.1), {f".*{first}/.*": optimizers.Adam(0.01)})
    model = trial.compiled(network, optimizer=optimizers.MultiOptimizer(chosen))
    trial.fit(model, X, Y, **DEFAULT)


@habit(GROUP, slow=True)
def optimizer_by_name(trial: Trial) -> None:
    """an optimizer as a string"""
    trial.fit(trial.compiled(samples.dense(), optimizer="rmsprop"), X, Y, **DEFAULT)


@habit(GROUP, slow=True)
def config_of_optimizer(trial: Trial) -> None:
    """an optimizer as a config, `{"class_name": ..., "config": ...}`"""
    config = {"class_name": "SGD", "config": {"learning_rate": 0.2, "momentum": 0.5}}
    trial.fit(trial.compiled(samples.dense(), optimizer=config), X, Y, **DEFAULT)


@habit(GROUP)
def constraints(trial: Trial) -> None:
    """weights with constraints"""
    network = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, kernel_constraint="non_neg", bias_constraint="max_norm"),
        ]
    )
    trial.fit(trial.compiled(network, optimizer=optimizers.SGD(0.5)), X, Y, **DEFAULT)
    trial.keep("positive", bool(np.all(network.layers[0].kernel.numpy() >= 0)))


class Dense(keras.layers.Embedding):
    """An embedding whose gradient is a dense array."""

    def call(self, inputs: object) -> object:
        return keras.ops.one_hot(inputs, self.input_dim) @ self.embeddings


@habit(
    GROUP,
    right="rows of an embedding that occur twice in a batch: Keras squares their gradients one by"
    " one, before they are added up",
)
def repeated_rows(trial: Trial) -> None:
    """Adam on an embedding whose rows occur several times in a batch"""
    ids, y = samples.sentences()
    loss = "sparse_categorical_crossentropy"
    network = samples.reader(keras.layers.GlobalAveragePooling1D(), mask_zero=False)
    plain = keras.Sequential(
        [keras.Input((5,), dtype="int32"), Dense(9, 4), *map(copied, network.layers[1:])]
    )
    plain.set_weights(network.get_weights())
    plain.compile("adam", loss, jit_compile=False)
    options = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0}
    history = plain.fit(ids % 4, y, **options)
    model = trial.compiled(network, loss, optimizer="adam")
    trial.keep("history", model.fit(ids % 4, y, **options).history)
    trial.expect("history", history.history)
    trial.expect("weights", plain.get_weights())
    trial.expect("slots", [variable.numpy() for variable in plain.optimizer.variables[1:]])


def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns a new layer of the same options."""
    return type(layer).from_config(layer.get_config())


@habit(
    GROUP,
    right="Keras builds ScheduleFreeAdamW within the compiled step, where it cannot read the"
    " weights that its averages begin with",
    slow=True,
)
def schedule_free(trial: Trial) -> None:
    """ScheduleFreeAdamW gives what it gives eagerly"""
    network = samples.dense()
    eager = samples.dense()
    eager.set_weights(network.get_weights())
    eager.compile(optimizers.ScheduleFreeAdamW(), "mse", run_eagerly=True)
    options = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    history = eager.fit(X, Y, **options)
    model = trial.compiled(network, optimizer=optimizers.ScheduleFreeAdamW())
    trial.keep("history", model.fit(X, Y, **options).history)
    trial.expect("history", history.history)
    trial.expect("weights", eager.get_weights())
    trial.expect("slots", [variable.numpy() for variable in eager.optimizer.variables[1:]])


@habit(GROUP, slow=True)
def unused_weights(trial: Trial) -> None:
    """a weight that no output depends on"""

    class Spare(keras.layers.Layer):
        def build(self, shape: tuple[int, ...]) -> None:
            self.spare = self.add_weight(shape=(2,), name="spare")

        def call(self, inputs: object) -> object:
            return inputs

    network = keras.Sequential([keras.Input((4,)), Spare(), keras.layers.Dense(3)])
    trial.fit(trial.compiled(network, optimizer="adam"), X, Y, **DEFAULT)
