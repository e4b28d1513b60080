"""The comparison itself: what differs is seen, and an answer is not given away."""

import keras
import numpy as np
import pytest

from tests.conformance import samples
from tests.conformance.comparing import differences
from tests.conformance.habit import Answer, Habit, Tolerance
from tests.conformance.running import verdict
from tests.conformance.trial import stock
from tfscale.errors import ConfigError

X, Y = samples.regression()


def fit(trial):
    trial.fit(trial.compiled(samples.dense()), X, Y, batch_size=8)


def row(run, answer=Answer.SAME):
    return Habit("group", "name", "title", run, answer)


@pytest.mark.parametrize(
    "one, other",
    [
        (1.0, 1.001),
        (1, 1.0),
        (1, "1"),
        (None, 0.0),
        (0.5, float("nan")),
        ([1.0], [1.0, 2.0]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        (np.zeros((2, 1)), np.zeros((2,))),
        (np.array([1, 2]), np.array([1, 3])),
        ([("on_epoch_end", 0, {"loss": 1.0})], [("on_epoch_end", 0, {"loss": 1.1})]),
    ],
)
def test_differences_are_seen(one, other):
    assert list(differences(one, one, Tolerance())) == []
    assert len(list(differences(one, other, Tolerance()))) == 1


def test_stock_keras_is_the_same_as_itself():
    assert verdict(row(fit), stock).answer is Answer.SAME


def test_another_answer_is_not_the_same():
    def slower(network):
        network.layers[0].trainable = False
        return network

    found = verdict(row(fit), slower)
    assert found.answer is None
    assert "weights" in found.text


def test_a_refusal_is_one_line():
    def refuse(message):
        def wrap(network):
            raise ConfigError(message)

        return wrap

    assert verdict(row(fit), refuse("give x")).answer is Answer.REFUSED
    assert verdict(row(fit), refuse("give x\nand y")).answer is None


def test_right_needs_a_proof_that_stock_keras_fails():
    def proved(value):
        def run(trial):
            trial.keep("value", 1.0 if trial.wrap is stock else 2.0)
            trial.expect("value", value)

        return run

    def other(network):
        return network

    assert verdict(row(proved(2.0)), other).answer is Answer.RIGHT
    assert verdict(row(proved(1.0)), other).answer is None
    assert verdict(row(proved(3.0)), other).answer is None


def test_other_errors_are_not_refusals():
    def wrap(network: keras.Model):
        raise ValueError("no")

    with pytest.raises(ValueError):
        verdict(row(fit), wrap)
