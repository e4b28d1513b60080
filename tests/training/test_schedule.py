import keras
import pytest

from tfscale.config import GRUConfig, TrainConfig
from tfscale.config.models import network_families
from tfscale.errors import ConfigError
from tfscale.training.schedule import WarmupSchedule, build_schedule, warmup_note


@pytest.mark.parametrize(
    "step,expected",
    [
        (0, 0.2),
        (1, 0.4),
        (3, 0.8),  # warm-up: peak x (step + 1) / 5
        (4, 1.0),
        (9, 0.55),
        (14, 0.1),  # half a cosine from 1.0 at step 4 to 0.1 at step 14, the last of 15
        (20, 0.1),
    ],
)
def test_warmup_and_cosine(step, expected):
    schedule = WarmupSchedule(peak=1.0, warmup_steps=4, steps=15, final=0.1)
    assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


def test_constant_after_the_warmup():
    schedule = build_schedule(
        TrainConfig(schedule="constant", learning_rate=0.5, warmup_steps=1, steps=9)
    )
    assert [float(schedule(step)) for step in (0, 1, 5, 8)] == [0.25, 0.5, 0.5, 0.5]


def test_a_warmup_that_is_not_over_is_said():
    assert warmup_note(TrainConfig(learning_rate=1e-3, steps=20, warmup_steps=19)) is None
    config = TrainConfig(learning_rate=1e-3, steps=20, warmup_steps=100)
    assert float(build_schedule(config)(19)) == pytest.approx(0.000198, abs=5e-7)
    assert (
        "warmup_steps=100 is not over within steps=20: the learning rate ends at 0.000198 and"
        in warmup_note(config)
    )


def test_each_family_has_a_learning_rate_of_its_own():
    taken = {
        name: TrainConfig().for_model(config()).learning_rate
        for name, config in network_families().items()
    }
    slow, fast = ("transformer", "bert", "nnlm"), ("gru", "rnn", "bilstm")
    assert taken == dict.fromkeys(slow, 1e-3) | dict.fromkeys(fast, 5e-3) | {"lstm": 1e-2}
    named = TrainConfig(learning_rate=0.25)
    assert named.for_model(GRUConfig()).learning_rate == 0.25
    with pytest.raises(
        ConfigError, match="learning_rate=0.0 is out of range; expected more than 0"
    ):
        build_schedule(TrainConfig())


def test_without_warmup_the_first_step_has_the_peak():
    assert float(build_schedule(TrainConfig(learning_rate=0.5, warmup_steps=0))(0)) == 0.5


def test_schedule_survives_serialization():
    schedule = WarmupSchedule(peak=1.0, warmup_steps=4, steps=15, final=0.1)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert float(again(9)) == float(schedule(9))
