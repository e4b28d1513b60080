"""Pruning: the masks are TF-MOT's own, the same on all replicas, kept by checkpoints, and the process is left as it was."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.equivalence_worker import make_windows
from tests.slow import slow_but
from tests.training.tiny import CONFIGS
from tfscale import models
from tfscale.compress import ConstantSparsity, PolynomialDecay, measure_sparsity, prune, strip
from tfscale.distribution.strategy import strategy
from tfscale.errors import CheckpointError, ConfigError
from tfscale.training.checkpoint import Checkpoints
from tfscale.training.language_model import LanguageModel

ROWS, VOCABULARY, LENGTH = 16, 50, 12
DECAY = {
    "initial_sparsity": 0.2,
    "final_sparsity": 0.75,
    "begin_step": 2,
    "end_step": 10,
    "frequency": 3,
}


def batches():
    return tf.data.Dataset.from_tensor_slices(make_windows(4 * ROWS)).batch(ROWS).repeat()


def own_network():
    """A Keras model of a user's: nothing of tfscale in it."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(VOCABULARY, 8, name="table"),
            keras.layers.Dense(16, activation="tanh", name="inner"),
            keras.layers.GRU(12, return_sequences=True, name="gru"),
            keras.layers.Dense(VOCABULARY, name="output"),
        ],
        name="own",
    )


def trained(network, schedule, steps, where=None, optimizer=None, options=None, **pruning):
    with (where or tf.distribute.get_strategy()).scope():
        model = LanguageModel(
            network() if callable(network) and not isinstance(network, keras.Model) else network
        )
        prune(model, schedule, **pruning)
        model.compile(
            optimizer or keras.optimizers.SGD(0.5),
            **{"clip_norm": 0.0, "xla": False, **(options or {})},
        )
    if steps:
        model.fit(batches(), steps_per_epoch=steps, steps_per_call=5, verbose=0)
    return model


def masks(model):
    return [np.asarray(mask.numpy()) for _, mask, _ in model.pruner.pruned]


@pytest.mark.parametrize("pattern", slow_but(["elements", "blocks", "2:4"], "2:4"))
def test_the_masks_are_those_of_tfmots_own_wrapper_on_keras_2(pattern):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    options = {
        "elements": {},
        "blocks": {"block_size": (2, 3), "block_pooling_type": "MAX"},
        "2:4": {},
    }[pattern]
    if pattern == "2:4":
        options = {"sparsity_m_by_n": (2, 4)}
        schedule = ConstantSparsity(0.5, begin_step=1, frequency=1)
    else:
        schedule = PolynomialDecay(**DECAY)
    twin = tf_keras.Sequential(
        [
            tf_keras.Input((LENGTH,), dtype="int32"),
            tf_keras.layers.Embedding(VOCABULARY, 8),
            *(
                tfmot.sparsity.keras.prune_low_magnitude(
                    layer, pruning_schedule=schedule, **options
                )
                for layer in (tf_keras.layers.Dense(16, "tanh"), tf_keras.layers.Dense(VOCABULARY))
            ),
        ]
    )
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(VOCABULARY, 8),
            keras.layers.Dense(16, activation="tanh"),
            keras.layers.Dense(VOCABULARY),
        ]
    )
    dense = twin.layers[-2:]
    twin.layers[0].set_weights(network.layers[0].get_weights())
    for layer, ours in zip(dense, network.layers[1:], strict=True):
        layer.layer.kernel.assign(ours.kernel.numpy())
        layer.layer.bias.assign(ours.bias.numpy())
    twin.compile(
        tf_keras.optimizers.SGD(0.5),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    twin.fit(
        batches(),
        steps_per_epoch=12,
        verbose=0,
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
    )
    translated = {
        "block_size": "block_size",
        "block_pooling_type": "block_pooling",
        "sparsity_m_by_n": "m_by_n",
    }
    model = trained(
        network, schedule, 12, **{translated[name]: value for name, value in options.items()}
    )
    ours = masks(model)
    theirs = [layer.pruning_vars[0][1].numpy() for layer in dense]
    assert len(ours) == 2
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)
        expected = {"elements": 0.75, "blocks": 0.75, "2:4": 0.5}[pattern]
        # 12 updates; the schedule was due at 2, 5 and 8, where 0.75 was not reached yet.
        assert 0.4 < 1 - mine.mean() <= expected + 0.05
    for ours, wrapper in zip(network.layers[1:], dense, strict=True):
        np.testing.assert_allclose(ours.kernel.numpy(), wrapper.layer.kernel.numpy(), atol=2e-6)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=() if family == "lstm" else pytest.mark.slow)
        for family in CONFIGS
    ],
)
def test_replicas_micro_batches_and_xla_do_not_change_the_masks(family):
    def network():
        return models.build_network(CONFIGS[family], "float32", seed=1)

    schedule = PolynomialDecay(**DECAY)
    alone = trained(network, schedule, 12)
    mirrored = trained(network, schedule, 12, strategy("mirrored"), options={"micro_batches": 2})
    compiled = trained(network, schedule, 12, options={"xla": True, "micro_batches": 4})
    for other in (mirrored, compiled):
        for a, b in zip(masks(alone), masks(other), strict=True):
            np.testing.assert_array_equal(a, b)
    for _, mask, _ in mirrored.pruner.pruned:
        first, second, *_ = mask.values
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    recurrent = "lstm_0/lstm_cell/recurrent_kernel"
    paths = [weight.path for weight in alone.pruner.choose(alone.network)]
    assert not any("embedding" in path or "bias" in path or "norm" in path for path in paths)
    assert (recurrent in paths) == (family == "lstm")
    assert any("attention/query_key_value/kernel" in path for path in paths) == (
        family == "transformer"
    )


def test_the_schedule_is_followed_to_its_end_and_strip_leaves_zeros():
    model = trained(
        own_network, PolynomialDecay(0.0, 0.8, begin_step=0, end_step=8, frequency=2), 10
    )
    pruned = strip(model)
    assert [entry.path for entry in pruned] == [
        "own/inner/kernel",
        "own/gru/gru_cell/kernel",
        "own/gru/gru_cell/recurrent_kernel",
        "own/output/kernel",
    ]
    for entry in pruned:
        # TF-MOT rounds the number of weights that stay.
        assert (
            entry.size - entry.zeros == round(entry.size * 0.2)
            and entry.fraction == entry.zeros / entry.size
        )
    assert model.pruner is None
    (table,) = measure_sparsity([model.network.layers[0].embeddings])
    assert table.zeros == 0
    with pytest.raises(ConfigError, match="needs a model that was pruned"):
        strip(model)


def test_a_schedule_that_never_acts_is_told_of():
    model = trained(own_network, ConstantSparsity(0.8, begin_step=50, frequency=100), 3)
    with pytest.warns(
        UserWarning, match="nothing was pruned: the schedule did not act in the steps"
    ):
        assert {part.fraction for part in strip(model)} == {0.0}


def test_a_mask_once_made_holds_between_updates_of_masks_and_for_the_average():
    model = trained(
        own_network,
        ConstantSparsity(0.5, begin_step=1, end_step=1, frequency=1),
        7,
        optimizer=keras.optimizers.AdamW(1e-2),
        options={"ema_decay": 0.5},
    )
    for weight, mask, average in model.pruner.pruned:
        zeros = mask.numpy() == 0
        assert zeros.mean() == pytest.approx(0.5, abs=0.01)
        assert not weight.numpy()[zeros].any() and not average.numpy()[zeros].any()
        assert np.count_nonzero(weight.numpy()) == np.count_nonzero(mask.numpy())


def test_mixed_precision_and_an_overflow_leave_the_masks_alone():
    model = trained(
        lambda: models.build_network(CONFIGS["lstm"], "mixed_float16", seed=1),
        PolynomialDecay(**DECAY),
        4,
    )
    step = model.train_step_runner
    before = masks(model)
    step.loss_scale.value.assign(1e38)  # every step overflows and is skipped
    model.fit(batches(), steps_per_epoch=3, verbose=0)
    assert int(step.overflows.numpy()) == 3 and int(step.optimizer.iterations.numpy()) == 4
    for a, b in zip(before, masks(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_carries_the_masks(tmp_path):
    schedule = PolynomialDecay(**DECAY)
    whole = trained(own_network, schedule, 12)
    first = trained(own_network, schedule, 7)
    Checkpoints(str(tmp_path)).save(7, first.train_step_runner.state(), {})
    second = trained(own_network, schedule, 0)
    Checkpoints(str(tmp_path)).restore_latest(second.train_step_runner.state())
    second.fit(batches().skip(7), steps_per_epoch=5, verbose=0)
    for name, variable in whole.train_step_runner.state().items():
        np.testing.assert_array_equal(
            variable.numpy(), second.train_step_runner.state()[name].numpy(), name
        )
    plain = LanguageModel(own_network())
    plain.compile(keras.optimizers.SGD(0.5))
    with pytest.raises(CheckpointError, match="it has mask/0, which this model lacks"):
        Checkpoints(str(tmp_path)).restore_latest(plain.train_step_runner.state())
    Checkpoints(str(tmp_path / "plain")).save(1, plain.train_step_runner.state(), {})
    with pytest.raises(CheckpointError, match="it has no mask/0"):
        Checkpoints(str(tmp_path / "plain")).restore_latest(second.train_step_runner.state())


def test_what_is_pruned_can_be_chosen():
    def chosen(**options):
        with tf.distribute.get_strategy().scope():
            model = LanguageModel(own_network())
            return [
                weight.path
                for weight in prune(model, ConstantSparsity(0.5, 0), **options).choose(
                    model.network
                )
            ]

    assert chosen(embeddings=True)[0] == "own/table/embeddings"
    assert chosen(include="gru") == ["own/gru/gru_cell/kernel", "own/gru/gru_cell/recurrent_kernel"]
    assert chosen(include="kernel", exclude="gru|output") == ["own/inner/kernel"]
    assert chosen(policy=lambda layer, weight: weight.path == "own/output/kernel") == [
        "own/output/kernel"
    ]


@pytest.mark.parametrize(
    "options,message",
    [
        ({"include": "nothing"}, "chooses no weight of"),
        ({"include": "("}, "must be regular expressions"),
        ({"block_pooling": "SUM"}, "block_pooling='SUM' is unknown; expected AVG or MAX"),
        ({"block_size": (0, 2)}, "block_size="),
        ({"m_by_n": (4, 4)}, r"m_by_n=\(4, 4\)"),
        ({"m_by_n": (2, 4), "block_size": (2, 2)}, "give one of them"),
        (
            {"block_size": (2, 2), "policy": lambda layer, weight: True},
            "are for matrices, and own/inner/bias has the shape",
        ),
    ],
)
def test_mistakes_are_named(options, message):
    model = LanguageModel(own_network())
    with pytest.raises(ConfigError, match=message):
        prune(model, ConstantSparsity(0.5, 0), **options)
        model.compile(keras.optimizers.SGD(0.5))


def test_pruning_comes_before_compile():
    model = LanguageModel(own_network())
    model.compile(keras.optimizers.SGD(0.5))
    with pytest.raises(ConfigError, match="prune comes before compile"):
        prune(model, ConstantSparsity(0.5, 0))


@pytest.mark.slow
@pytest.mark.parametrize("legacy", slow_but([None, "0", "1"], None))
def test_importing_it_leaves_keras_and_the_environment_as_they_were(legacy):
    program = (
        "import os; before = dict(os.environ)\n"
        "import keras; import tfscale; tfscale.compress.prune; import tensorflow as tf\n"
        "assert dict(os.environ) == {**before, **{k: v for k, v in os.environ.items() if k not in before}}\n"
        "print(os.environ.get('TF_USE_LEGACY_KERAS'), tf.keras.Model.__module__.split('.')[0])"
    )
    environ = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    if legacy is not None:
        environ["TF_USE_LEGACY_KERAS"] = legacy
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(legacy), "tf_keras" if legacy == "1" else "keras"], (
        done.stderr[-2000:]
    )


@pytest.mark.parametrize(
    "schedule, message",
    [
        (
            lambda: ConstantSparsity(1.5, 0),
            r"pruning schedule: target_sparsity must be in range \[0,1\)",
        ),
        (
            lambda: PolynomialDecay(0.0, -0.1, 0, 10),
            r"pruning schedule: final_sparsity must be in range",
        ),
        (
            lambda: PolynomialDecay(0.0, 0.5, 10, 5),
            "pruning schedule: begin_step should be <= end_step",
        ),
    ],
)
def test_schedules_out_of_range(schedule, message):
    with pytest.raises(ConfigError, match=message):
        schedule()
