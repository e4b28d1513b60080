"""The draw of a token against numbers done by hand and a slow reference."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfscale.config import SamplingConfig
from tfscale.errors import ConfigError, TfscaleError
from tfscale.inference.sampling import candidates, next_token, penalize_repetition

# Probabilities 0.5, 0.3, 0.15, 0.05, stored out of order: ids 2, 0, 3, 1.
LOGITS = np.log([0.3, 0.05, 0.5, 0.15])


def allowed(**options) -> dict[int, float]:
    ids, weights = candidates(LOGITS, SamplingConfig(**{"temperature": 1.0, **options}))
    return dict(zip(ids.tolist(), weights.tolist(), strict=True))


def test_top_k():
    assert allowed(top_k=1) == {2: 1.0}
    assert allowed(top_k=2) == pytest.approx({2: 0.625, 0: 0.375})
    assert allowed(top_k=0) == pytest.approx({0: 0.3, 1: 0.05, 2: 0.5, 3: 0.15})
    assert allowed(top_k=99) == pytest.approx(allowed(top_k=0))


@pytest.mark.parametrize("top_k", [4, 5, 99])
def test_top_k_that_leaves_no_token_out_draws_as_none_does(top_k):
    draws = [
        [
            next_token(
                LOGITS, SamplingConfig(temperature=1.0, top_k=k), [], np.random.default_rng(n)
            )
            for n in range(20)
        ]
        for k in (0, top_k)
    ]
    assert draws[0] == draws[1]
    # By the ids' order: 0.3 of token 0, 0.05 of 1, 0.5 of 2, 0.15 of 3.
    places = [np.random.default_rng(n).random() for n in range(20)]
    assert draws[0] == [int(np.searchsorted([0.3, 0.35, 0.85, 1], place)) for place in places]


@pytest.mark.parametrize("temperature", [1e-300, 5e-324])
def test_a_tiny_temperature_is_greedy(temperature):
    assert allowed(temperature=temperature) == {0: 0, 1: 0, 2: 1, 3: 0}


def test_top_p_takes_the_fewest_tokens_that_reach_p():
    assert allowed(top_p=0.01) == {2: 1.0}
    assert allowed(top_p=0.5) == {2: 1.0}
    assert allowed(top_p=0.51) == pytest.approx({2: 0.625, 0: 0.375})
    assert allowed(top_p=0.8) == pytest.approx({2: 0.625, 0: 0.375})
    assert set(allowed(top_p=0.81)) == {2, 0, 3}
    assert set(allowed(top_p=0.95)) == {2, 0, 3}
    assert set(allowed(top_p=0.96)) == {0, 1, 2, 3}


def test_top_p_counts_after_top_k():
    # Two of four are left with 0.625 and 0.375.
    assert allowed(top_k=2, top_p=0.62) == {2: 1.0}
    assert set(allowed(top_k=2, top_p=0.63)) == {2, 0}


def test_temperature_by_hand():
    # Probabilities squared: 0.09, 0.0025, 0.25, 0.0225 of 0.365.
    assert allowed(temperature=0.5) == pytest.approx(
        {0: 0.09 / 0.365, 1: 0.0025 / 0.365, 2: 0.25 / 0.365, 3: 0.0225 / 0.365}
    )


def test_of_equal_tokens_the_lower_id_comes_first():
    ids, weights = candidates(np.zeros(6), SamplingConfig(temperature=1.0, top_k=2))
    assert ids.tolist() == [0, 1]
    assert weights.tolist() == [0.5, 0.5]
    ids, _ = candidates(np.zeros(6), SamplingConfig(temperature=1.0, top_p=0.5))
    assert ids.tolist() == [0, 1, 2]


def test_repetition_penalty_by_hand():
    logits = np.array([2.0, -1.0, 0.5, 3.0, 0.0])
    # Seen twice counts once; positive is divided, negative multiplied, zero stays.
    assert penalize_repetition(logits, [0, 0, 1, 4], 2.0).tolist() == [1.0, -2.0, 0.5, 3.0, 0.0]
    assert logits[0] == 2.0
    rng = np.random.default_rng(0)
    assert next_token(logits, SamplingConfig(repetition_penalty=1.0), [3], rng) == 3
    assert next_token(logits, SamplingConfig(repetition_penalty=1.4), [3], rng) == 3  # 2.14 > 2
    assert next_token(logits, SamplingConfig(repetition_penalty=1.6), [3], rng) == 0  # 1.875 < 2


def reference(
    logits: list[float], temperature: float, top_k: int, top_p: float
) -> dict[int, float]:
    """Ids and probabilities by sorting and adding in plain Python."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: top_k or len(logits)]
    weights = [math.exp((logits[i] - logits[order[0]]) / temperature) for i in order]
    total, reached, kept = sum(weights), 0.0, {}
    for token, weight in zip(order, weights, strict=True):
        kept[token] = weight
        reached += weight / total
        if reached >= top_p - 1e-12 and top_p < 1:
            break
    return {token: weight / sum(kept.values()) for token, weight in kept.items()}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    # Multiples of 1/8, so that equal logits occur often and sums are far from every p on this grid or exactly on it.
    logits=st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=30),
    temperature=st.sampled_from([0.25, 1.0, 2.0]),
    top_k=st.integers(0, 31),
    top_p=st.sampled_from([0.1, 0.37, 0.73, 0.9, 1.0]),
)
def test_candidates_equal_the_reference(logits, temperature, top_k, top_p):
    ids, weights = candidates(
        np.array(logits), SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    )
    assert dict(zip(ids.tolist(), weights.tolist(), strict=True)) == pytest.approx(
        reference(logits, temperature, top_k, top_p), abs=1e-12
    )


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("spread", [0.0, 0.5, 8.0])
def test_candidates_of_a_large_vocabulary_equal_the_reference(top_p, spread):
    # 256, 2,048 or all tokens have to be sorted until p is reached.
    logits = np.random.default_rng(0).normal(size=5000) * spread
    ids, weights = candidates(logits, SamplingConfig(temperature=1.0, top_p=top_p))
    expected = reference(logits.tolist(), 1.0, 0, top_p)
    assert ids.tolist() == list(expected)
    np.testing.assert_allclose(weights, list(expected.values()), rtol=1e-9)


def test_frequencies_follow_the_softmax():
    config, draws = SamplingConfig(temperature=0.7), 20_000
    expected = np.exp(LOGITS / 0.7) / np.exp(LOGITS / 0.7).sum()
    rng = np.random.default_rng(1)
    counts = np.bincount([next_token(LOGITS, config, [], rng) for _ in range(draws)], minlength=4)
    # Five standard deviations of a binomial count: one run in a million fails by chance, and this seed is fixed.
    assert (
        np.abs(counts - draws * expected) < 5 * np.sqrt(draws * expected * (1 - expected))
    ).all()


def test_same_seed_same_draws():
    config = SamplingConfig(temperature=1.0)
    first, second, other = (
        [next_token(LOGITS, config, [], rng) for _ in range(50)]
        for rng in map(np.random.default_rng, (5, 5, 6))
    )
    assert first == second
    assert first != other


def test_greedy_takes_the_first_of_the_largest_and_draws_nothing():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert next_token(np.array([1.0, 4.0, 4.0], np.float32), SamplingConfig(), [], rng) == 1
    assert rng.bit_generator.state == before


def test_masked_token_is_never_drawn():
    rng = np.random.default_rng(0)
    config = SamplingConfig(temperature=5.0)
    assert {next_token(np.array([0.0, -np.inf, 0.0]), config, [], rng) for _ in range(100)} == {
        0,
        2,
    }


@pytest.mark.parametrize("damaged", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(damaged):
    with pytest.raises(TfscaleError, match="not finite"):
        next_token(np.array([0.0, damaged]), SamplingConfig(), [], np.random.default_rng(0))


@pytest.mark.parametrize("options", [{"top_k": 3}, {"top_p": 0.9}])
def test_what_chooses_among_draws_needs_draws(options):
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name}=.* has no effect with temperature=0"):
        SamplingConfig(**options)
    SamplingConfig(temperature=0.5, **options)
