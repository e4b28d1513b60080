"""The same answer everywhere: the short form of `make equivalence`, and tf_keras's own `fit` as an outside reference."""

import keras
import numpy as np
import pytest
import tf_keras

from benchmarks import equivalence
from tests.training.tiny import CONFIGS, LENGTH, VOCABULARY
from tfscale import models
from tfscale.distribution.strategy import strategy
from tfscale.training.language_model import LanguageModel


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(("single", "2 workers"), marks=pytest.mark.slow),
        pytest.param(tuple(equivalence.STRATEGIES), marks=pytest.mark.slow),
    ],
    ids=["processes", "all"],
)
def test_every_strategy_gives_the_same_answer(tmp_path, labels):
    """50 steps on one device, 2 and 4 replicas, and two real processes, with clipping, averages and uneven batches."""
    equivalence.train_all(str(tmp_path), labels, quick=True)
    gaps = equivalence.compare(str(tmp_path), labels, quick=True)
    # Two families; 1 and 2 micro-batches under each strategy, less the reference itself.
    assert len(gaps) == 2 * (2 * len(labels) - 1)
    assert [gap for gap in gaps if not gap.kept] == []
    assert any(gap.loss > 0 for gap in gaps)


def test_a_gap_above_its_bound_is_seen(tmp_path):
    case = equivalence.cases(quick=True)[0]
    for name, shift in (("a", 0.0), ("b", 2e-6)):
        np.savez(tmp_path / f"{name}.npz", losses=np.ones(50), **{"weight/0": np.zeros(3) + shift})
    loss, weight = equivalence.differences(str(tmp_path / "a.npz"), str(tmp_path / "b.npz"))
    assert (loss, weight) == (0.0, pytest.approx(2e-6))
    bound = equivalence.WEIGHT_BOUNDS["sgd"]
    assert not equivalence.Gap(case, "single", loss, weight, equivalence.LOSS_BOUND, bound).kept


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_two_replicas_equal_tf_keras_fit(windows, clip):
    """tf_keras clips after the all-reduce; Keras 3 does not. Its embedding's gradient is made dense by a product."""
    config = CONFIGS["lstm"]
    with strategy("mirrored").scope():
        ours = LanguageModel(models.build_network(config, seed=3))
        ours.compile(keras.optimizers.SGD(0.1), clip_norm=clip, micro_batches=2, xla=False)
        inputs = tf_keras.Input((LENGTH,), dtype="int32")
        one_hot = tf_keras.layers.Lambda(lambda ids: tf_keras.backend.one_hot(ids, VOCABULARY))(
            inputs
        )
        x = tf_keras.layers.Dense(config.embedding_dim, use_bias=False)(one_hot)
        x = tf_keras.layers.LSTM(config.hidden_dim, return_sequences=True)(x)
        theirs = tf_keras.Model(inputs, tf_keras.layers.Dense(VOCABULARY)(x))
        theirs.set_weights(ours.network.get_weights())
        theirs.compile(
            tf_keras.optimizers.SGD(0.1, global_clipnorm=clip or None),
            tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    mine = ours.fit(*windows, batch_size=16, epochs=3, shuffle=False, verbose=0)
    reference = theirs.fit(*windows, batch_size=16, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(mine.history["loss"], reference.history["loss"], atol=1e-5)
    for a, b in zip(ours.network.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
