"""Rotary positions: frequencies by hand, and options of layers that contradict each other."""

import math

import numpy as np
import pytest

from tests.gpt2 import gpt2
from tfscale.config.rope import RopeOptions
from tfscale.errors import ConfigError
from tfscale.models.rope import frequencies

TINY = {"vocabulary_size": 9, "hidden_dim": 8, "num_layers": 2, "num_heads": 2}


def test_frequencies_of_a_part_of_a_head():
    np.testing.assert_allclose(frequencies(100.0, RopeOptions(), 8), 10.0 ** -np.arange(0, 2, 0.5))
    half = RopeOptions(fraction=0.5, scaling="linear", factor=4.0)
    np.testing.assert_allclose(frequencies(100.0, half, 8), [1 / 4, 0.1 / 4])


def test_frequencies_of_llama_3_1():
    """Wavelengths 2 pi, 20 pi, 200 pi and 2,000 pi in 400 pi tokens: 200, 20, 2 and 0.2 turns."""
    options = RopeOptions(
        scaling="llama3",
        factor=8.0,
        low_frequency_factor=1.0,
        high_frequency_factor=4.0,
        original_length=400 * math.pi,  # type: ignore[arg-type]
    )
    # 2 turns are a third of the way from 1 to 4: a third is kept, two thirds are divided by 8.
    expected = [1.0, 0.1, 0.01 * (1 / 3 + 2 / 3 / 8), 0.001 / 8]
    np.testing.assert_allclose(frequencies(10_000.0, options, 8), expected, rtol=1e-6)


def test_which_layers_see_all_and_which_have_no_positions():
    config = gpt2(
        **{**TINY, "num_layers": 6},
        positions="rope",
        rope_base=1e6,
        rope_scaling="linear",
        rope_factor=8.0,
        attention_window=4,
        local_rope_base=1e4,
        global_every=3,
        no_rope_every=4,
    )
    assert [config.window_of(layer) for layer in range(6)] == [4, 4, 0, 4, 4, 0]
    stretched = RopeOptions(scaling="linear", factor=8.0)
    local, everywhere = (1e4, RopeOptions()), (1e6, stretched)
    none = 0.0, RopeOptions()
    expected = [local, local, everywhere, none, local, everywhere]
    assert [config.rope_of(layer) for layer in range(6)] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_every": 1}, "model.global_every=1 is out of range; expected 0 .none., or 2"),
        ({"global_every": 2}, "model.global_every=2 goes with a model.attention_window"),
        ({"local_rope_base": 1e4}, "model.local_rope_base=10000 goes with a model.attention_wind"),
        ({"rope_factor": 8.0}, "model.rope_factor=8 goes with model.rope_scaling=linear or llama3"),
        ({"rope_scaling": "linear", "rope_factor": 0.0}, "model.rope_factor=0.0 is out of range"),
        ({"rope_fraction": 1.5}, "model.rope_fraction=1.5 is out of range; expected above 0 to 1"),
        ({"rope_fraction": 0.25}, "and a head has 4 of them of which they turn 1; give an even"),
        (
            {"rope_low_frequency_factor": 4.0},
            "model.rope_low_frequency_factor=4 must be above 0 and below .*factor=4",
        ),
        ({"no_rope_every": 4, "positions": "learned"}, "are of rotary positions; .* is learned"),
        ({"query_scale_dim": -1}, "model.query_scale_dim=-1 is out of range"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        gpt2(**{**TINY, "positions": "rope", **options})
