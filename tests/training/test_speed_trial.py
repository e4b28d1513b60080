"""The way of a step: XLA or TensorFlow's own kernels, by what a trial of the processor says."""

import keras
import numpy as np
import pytest

import tfscale
from tfscale.config import LSTMConfig, TrainConfig, TransformerConfig
from tfscale.training import speed_trial, xla
from tfscale.training.model_xla import suits_xla
from tfscale.training.speed_trial import BFLOAT16, BFLOAT16_XLA, BFLOAT16_XLA_ALONE, FLOAT32, trial

LARGE = TransformerConfig(
    vocabulary_size=4096, sequence_length=128, hidden_dim=512, num_layers=4, num_heads=8
)
LOWER = TrainConfig(precision="mixed_bfloat16")


@pytest.fixture
def seconds(monkeypatch):
    """What the processor is said to take; nothing is measured."""
    values: dict[speed_trial.Way, float] = {}

    def said(products, ways):
        assert products
        return {way: values[way] for way in ways}

    monkeypatch.setattr(xla, "trial", said)
    return values


def test_bfloat16_takes_the_faster_of_two_ways(seconds):
    seconds.update({FLOAT32: 0.4, BFLOAT16_XLA: 0.5, BFLOAT16: 0.2})
    way = xla.chosen_way(LOWER, LARGE, 1)
    assert (way.xla, way.tried) == (False, True)
    assert way.notes == (
        "on this processor layers in bfloat16 take 0.40 of the time without XLA, by oneDNN: not"
        " compiled by XLA",
    )
    seconds.update({FLOAT32: 0.4, BFLOAT16_XLA: 0.5, BFLOAT16: 0.48})
    way = xla.chosen_way(LOWER, LARGE, 1)
    assert (way.xla, way.tried) == (True, True)
    assert way.notes == (
        "on this processor layers in bfloat16 take 0.96 of the time without XLA: compiled by XLA",
        "float32 would be faster on this processor, where layers take 0.80 of their time in"
        " bfloat16: --train.precision float32",
    )


def test_a_long_run_in_float32_hears_of_bfloat16(seconds):
    seconds.update({FLOAT32: 0.4, BFLOAT16_XLA: 0.2, BFLOAT16: 0.3})
    way = xla.chosen_way(TrainConfig(), LARGE, 1)
    assert (way.xla, way.tried) == (True, False)
    assert way.notes == (
        "mixed_bfloat16 would be faster on this processor, where layers take 0.50 of their time in"
        " float32: --train.precision mixed_bfloat16",
    )
    seconds[BFLOAT16_XLA] = seconds[BFLOAT16] = 0.37
    assert xla.chosen_way(TrainConfig(), LARGE, 1) == xla.Way(True)


@pytest.mark.parametrize("steps, minutes, asked", [(20, None, 0), (20000, None, 1), (None, 5, 1)])
def test_short_runs_in_float32_are_not_delayed(monkeypatch, steps, minutes, asked):
    asked_for = []
    monkeypatch.setattr(
        xla, "trial", lambda products, ways: asked_for.append(ways) or dict.fromkeys(ways, 1.0)
    )
    xla.chosen_way(TrainConfig(steps=steps, minutes=minutes), LARGE, 1)
    assert asked_for == [(FLOAT32, BFLOAT16, BFLOAT16_XLA)] * asked


@pytest.mark.parametrize(
    "config, model, wanted",
    [
        (TrainConfig(precision="mixed_bfloat16", xla="on"), LARGE, True),
        (TrainConfig(precision="mixed_bfloat16", xla="off"), LARGE, False),
        (TrainConfig(precision="mixed_float16"), LARGE, True),
        (LOWER, LSTMConfig(vocabulary_size=4096, hidden_dim=512), True),
        (LOWER, TransformerConfig(vocabulary_size=9, hidden_dim=8, num_heads=2), True),
    ],
    ids=["asked for", "refused", "float16", "recurrent", "tiny"],
)
def test_nothing_is_tried_where_nothing_is_open(seconds, config, model, wanted):
    # `seconds` is empty: a trial would end with a KeyError.
    assert xla.chosen_way(config, model, 1) == xla.Way(wanted)


def wide_dense():
    return keras.Sequential(
        [
            keras.Input((8,), dtype="int32"),
            keras.layers.Embedding(16, 1024, dtype="mixed_bfloat16"),
            keras.layers.Dense(1024, dtype="mixed_bfloat16"),
            keras.layers.Dense(16, dtype="float32"),
        ]
    )


@pytest.mark.parametrize("without, wanted", [(0.1, False), (0.5, True)])
def test_compile_leaves_it_to_a_trial(seconds, tmp_path, without, wanted):
    seconds.update({BFLOAT16_XLA: 0.5, BFLOAT16: without})
    model = tfscale.LanguageModel(wide_dense())
    model.compile("sgd")
    assert model.train_step_runner.options.xla is wanted
    assert model.get_compile_config()["options"]["xla"] is None
    model.compile("sgd", xla=not wanted)
    assert model.train_step_runner.options.xla is not wanted
    # `Model` decides on its first batch, whose rows are not fixed where the last one is smaller.
    seconds.update({BFLOAT16_XLA_ALONE: 0.5, BFLOAT16_XLA: 0.0})
    ids = np.zeros((3, 8), "int32")
    other = tfscale.Model(wide_dense())
    other.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    other.fit(ids, ids, batch_size=2, verbose=0)
    assert other.train_step_runner.uses_xla is wanted


def test_among_workers_and_in_float32_nothing_is_tried(seconds):
    # `seconds` is empty: a trial would end with a KeyError.
    assert suits_xla(wide_dense(), 2)
    network = keras.Sequential([keras.Input((8, 4)), keras.layers.Dense(4096)])
    assert suits_xla(network, 1)
    recurrent = [keras.layers.LSTM(512, dtype="mixed_bfloat16") for _ in range(2)]
    recurrent[0].return_sequences = True
    assert suits_xla(keras.Sequential([keras.Input((8, 512)), *recurrent]), 1)


def test_a_trial_scales_the_two_largest_shapes_and_is_made_once(monkeypatch):
    made = []

    def layer(m, k, n, way):
        made.append((m, k, n, way))
        return lambda: clock.__setitem__(0, clock[0] + (3.0 if way[0] == "float32" else 1.0))

    clock = [0.0]
    monkeypatch.setattr(speed_trial, "_layer", layer)
    for name in ("perf_counter", "process_time"):
        monkeypatch.setattr(speed_trial.time, name, lambda: clock[0])
    speed_trial._measured.cache_clear()
    products = [(8, 4, 16), (8, 4, 16), (1024, 4096, 2048), (2, 2, 2)]
    try:
        for _ in range(2):
            # 2 times the first shape, and 1024 x 4096 x 2048 is 4 times 512 x 2048 x 2048.
            assert trial(products, (FLOAT32, BFLOAT16)) == {FLOAT32: 18.0, BFLOAT16: 6.0}
    finally:
        speed_trial._measured.cache_clear()
    assert [shape[:3] for shape in made] == [(512, 2048, 2048)] * 2 + [(8, 4, 16)] * 2


def test_a_trial_of_this_processor_gives_times_for_every_way():
    ways = (FLOAT32, BFLOAT16, BFLOAT16_XLA)
    seconds = trial([(16, 8, 8), (16, 8, 24)], ways)
    assert tuple(seconds) == ways and all(0 < value < 60 for value in seconds.values())
