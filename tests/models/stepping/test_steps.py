"""Users' models token by token: the logits of stock Keras's whole forward pass, at every position."""

import keras
import keras_hub
import numpy as np
import pytest
from keras import layers

from tests.models.stepping import user_models as models
from tests.models.stepping.user_models import C, D, V
from tests.slow import slow_but
from tfscale.errors import ConfigError
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models.cached_model import CannotDecode
from tfscale.models.decoding import cached_model

MODELS = models.BY_STATE | models.BY_CACHE
WITH_PREFILL = [name for name in models.BY_CACHE if not name.startswith("state")]
SOON = [
    *("lstm", "stacked cells", "cell of one's own", "masked gru of zeros", "convolutions"),
    *("one layer twice", "tied table", "built by a call"),
    *("attention", "gated window", "grouped", "small gpt of any length", "state beside a cache"),
]
"""What `make test` takes; `make test-slow` takes the others."""


def text(name, length=C):
    """Ids without padding, unless padding is what is looked at."""
    ids = np.random.default_rng(4).integers(1, V, (1, length)).astype("int32")
    if name in models.BY_STATE:
        ids[0, [0, 5, 6]] = 0
    return ids


@pytest.mark.parametrize("name", slow_but(list(MODELS), *SOON))
def test_steps_are_the_whole_forward_pass(name):
    model = models.randomized(MODELS[name]())
    ids = text(name)
    expected = np.asarray(model(ids, training=False))[0]
    cached = cached_model(model, C, V)
    assert cached.decodes == ("state" if name in models.BY_STATE else "cache")
    decoder = KerasDecoder(cached)
    found = np.stack([decoder.feed([int(token)]) for token in ids[0]])
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(cached(ids)[0], expected, atol=1e-6)
    # The layers compute by themselves again.
    np.testing.assert_array_equal(np.asarray(model(ids, training=False))[0], expected)


@pytest.mark.parametrize(
    "name", slow_but(WITH_PREFILL, "gated window", "grouped", "small gpt of any length")
)
def test_a_prompt_is_read_by_one_call(name):
    model = models.randomized(MODELS[name]())
    ids = text(name)
    expected = np.asarray(model(ids, training=False))[0]
    decoder = KerasDecoder(cached_model(model, C, V), prefill_lengths=[4, 8])
    assert decoder.prefill_lengths == [4, 8]
    found = [decoder.feed(ids[0, :11].tolist())]  # pads are in the second call
    found += [decoder.feed([int(token)]) for token in ids[0, 11:]]
    np.testing.assert_allclose(found, expected[10:], atol=1e-4 * np.abs(expected).max())


def test_a_state_beside_a_cache_is_read_one_token_a_call():
    cached = cached_model(models.randomized(MODELS["state beside a cache"]()), C, V)
    assert KerasDecoder(cached, prefill_lengths=[8]).prefill_lengths == []
    assert cached.cache_spec()["state_c_0"] == (1, C, 1, 12)
    assert cached.cache_spec()["kv_cache_k_0"] == (1, C, 2, 8)


def test_masked_tokens_leave_the_state_alone():
    """By hand: what a masked LSTM gives after padding is what it gave before."""
    model = models.randomized(MODELS["masked lstm"]())
    decoder = KerasDecoder(cached_model(model, C, V))
    first = decoder.feed([7])
    np.testing.assert_array_equal(decoder.feed([0]), first)
    after = decoder.feed([9])
    decoder.reset()
    np.testing.assert_array_equal(decoder.feed([7]), first)
    np.testing.assert_array_equal(decoder.feed([9]), after)


def cross(x):
    return layers.MultiHeadAttention(2, 8)(x, x * 2, use_causal_mask=True)


def scores_too(x):
    attend = layers.MultiHeadAttention(2, 8)
    return attend(x, x, use_causal_mask=True, return_attention_scores=True)[0]


def banded(x):
    """Causal, but for a token that nobody sees."""
    sees = np.tril(np.ones((C, C), bool))
    sees[3:, 2] = False
    return layers.MultiHeadAttention(2, 8)(x, x, attention_mask=sees[None])


def from_given_state(x):
    state = layers.Dense(D)(x[:, 0])
    return layers.GRU(D, return_sequences=True)(x, initial_state=state)


def minus_first(x):
    return layers.LSTM(D, return_sequences=True)(x) + x[:, :1]


def encoded(x):
    return keras_hub.layers.TransformerDecoder(24, 2)(x, x, use_causal_mask=True)


REFUSED = {
    "nothing looks back": (lambda: models.sequential(), "no layer that is known to look"),
    "both directions": (
        lambda: models.sequential(layers.Bidirectional(models.lstm())),
        r"layer 'bidirectional.*' \(Bidirectional\) mixes all tokens",
    ),
    "from the end": (
        lambda: models.sequential(models.lstm(go_backwards=True)),
        "reads from the end",
    ),
    "given state": (lambda: models.functional(from_given_state), "starts from a state that is"),
    "cross-attention": (lambda: models.functional(cross), "another tensor than its query"),
    "scores": (lambda: models.functional(scores_too), "gives its attention scores too"),
    "hidden token": (
        lambda: models.functional(banded, C),
        "does not attend to all .*attention_mask",
    ),
    "not causal": (
        lambda: models.functional(lambda x: layers.MultiHeadAttention(2, 8)(x, x)),
        "use_causal_mask=False",
    ),
    "encoder's output": (lambda: models.functional(encoded), "attends to an encoder's output"),
    "same convolution": (
        lambda: models.sequential(layers.Conv1D(D, 3, padding="same")),
        "padding='same'",
    ),
    "attention without weights": (
        lambda: models.functional(lambda x: layers.Attention()([x, x], use_causal_mask=True)),
        "MultiHeadAttention with use_causal_mask=True has one",
    ),
    "not known": (
        lambda: models.sequential(models.lstm(), models.RunningMean()),
        r"layer 'running_mean.*' \(RunningMean\) computes something else token by token",
    ),
    "operation": (
        lambda: models.functional(minus_first),
        r"what is computed before layer 'dense.*' \(Dense\) computes something else",
    ),
    "masked cell of one's own": (
        lambda: models.sequential(
            layers.RNN(models.Doubling(), return_sequences=True), mask_zero=True
        ),
        "its cell is not one of Keras's",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_steps_is_named(name):
    build, message = REFUSED[name]
    model = models.randomized(build())
    with pytest.raises(CannotDecode, match=message) as raised:
        cached_model(model, C, V)
    assert "\n" not in str(raised.value)


def test_positions_end_where_the_table_does():
    model = models.over(models.TokenAndPosition(C), models.causal_attention)
    cached_model(model, C, V)
    with pytest.raises(ConfigError, match=f"sequence_length={C + 1}, .* has positions for {C}"):
        cached_model(model, C + 1, V)


def test_a_model_that_asks_for_a_whole_window_is_refused():
    class Whole(layers.Layer):
        def call(self, x):
            if x.shape[1] is not None and x.shape[1] < 2:
                raise ValueError("I want a window")
            return x

    model = keras.Sequential([models.sequential(models.lstm()), Whole()])
    with pytest.raises(CannotDecode, match="cannot be called with one token"):
        cached_model(models.randomized(model), C, V)
