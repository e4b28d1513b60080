"""Models of a user's own with a key-value cache: the cached step is the whole forward pass, and the file generates."""

import keras
import keras_hub
import numpy as np
import pytest

import tfscale
import tfscale.device
from tfscale.errors import ConfigError, DataError, ExportError
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models.attention import CausalSelfAttention
from tfscale.models.decoding import cached_model
from tfscale.text.tokenizers import train_tokenizer

C, V = 24, 257
SIZES = {"vocabulary_size": V, "num_layers": 2, "hidden_dim": 16}
GROUPS = {**SIZES, "num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 20}
hub = keras_hub.models


def of_decoders(positions=C, length=None, dtype=None):
    ids = keras.Input((length,), dtype="int32")
    x = keras_hub.layers.TokenAndPositionEmbedding(V, positions, 16, dtype=dtype)(ids)
    for _ in range(2):
        x = keras_hub.layers.TransformerDecoder(
            24, 2, normalize_first=True, dropout=0.1, dtype=dtype
        )(x)
    return keras.Model(ids, keras.layers.Dense(V, dtype=dtype)(x))


class OfOurs(keras.Model):
    """A subclassed model, whose code nobody can look into."""

    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(V, 16)
        self.attention = CausalSelfAttention(16, 2, 0.0, True, rope_base=1e4, num_kv_heads=1)
        self.norm = keras.layers.LayerNormalization()
        self.output_layer = keras.layers.Dense(V)

    def call(self, ids, training=False):
        x = self.embedding(ids)
        return self.output_layer(x + self.attention(self.norm(x), training=training))


MODELS = {
    "opt": lambda: hub.OPTCausalLM(
        hub.OPTBackbone(num_heads=2, intermediate_dim=24, max_sequence_length=C, **SIZES)
    ),
    "bloom": lambda: hub.BloomCausalLM(
        hub.BloomBackbone(num_heads=2, intermediate_dim=24, **SIZES)
    ),
    "falcon": lambda: hub.FalconCausalLM(
        hub.FalconBackbone(num_attention_heads=2, intermediate_dim=24, **SIZES)
    ),
    "phi3": lambda: hub.Phi3CausalLM(hub.Phi3Backbone(**GROUPS)),
    "qwen3": lambda: hub.Qwen3CausalLM(hub.Qwen3Backbone(head_dim=6, **GROUPS)),
    "gemma3": lambda: hub.Gemma3CausalLM(
        backbone=hub.Gemma3Backbone(
            image_size=16,
            head_dim=6,
            vision_encoder=None,
            sliding_window_size=8,
            use_sliding_window_attention=True,
            **GROUPS,
        ),
        preprocessor=None,
    ),
    "decoders of keras-hub": of_decoders,
    "our attention": OfOurs,
}


def randomized(model):
    if not model.built:
        model(np.zeros((1, 4), "int32"))
    # Scales and their like are left near one; all else does not depend on what was drawn before.
    rng = np.random.default_rng(3)
    for weight in model.weights:
        drawn = rng.normal(0, 0.2, weight.shape)
        weight.assign(drawn if len(weight.shape) > 1 else weight + drawn)
    return model


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("byte", [], V)


@pytest.mark.parametrize("name", MODELS)
def test_the_cached_step_is_the_whole_forward_pass(name):
    model = randomized(MODELS[name]())
    cached = cached_model(model, C, V)
    ids = np.random.default_rng(4).integers(1, V, (1, C)).astype("int32")
    given = (
        {"token_ids": ids, "padding_mask": np.ones_like(ids)} if hasattr(model, "backbone") else ids
    )
    expected = np.asarray(model(given, training=False))[0]
    np.testing.assert_allclose(cached(ids)[0], expected, atol=1e-6)
    decoder = KerasDecoder(cached, prefill_lengths=[8])
    decoder.feed(ids[0, :11].tolist())  # 8 by one call, with pads in none
    found = np.stack([decoder.feed([int(token)]) for token in ids[0, 11:]])
    np.testing.assert_allclose(found, expected[11:], atol=1e-4 * np.abs(expected).max())
    # The layers compute by themselves again.
    np.testing.assert_array_equal(np.asarray(model(given, training=False))[0], expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quantize"),
    [("falcon", "int8"), ("decoders of keras-hub", "none"), ("our attention", "float16")],
)
def test_the_file_generates(tmp_path, tokenizer, name, quantize):
    model = randomized(MODELS[name]())
    output = str(tmp_path / "export")
    stream = [*tokenizer.encode("The quick brown fox jumps over the lazy dog."), tokenizer.end_id]
    report = tfscale.export_keras(
        model,
        output=output,
        sequence_length=C,
        held_out=stream,
        tokenizer=tokenizer,
        quantize=quantize,
    )
    assert report["passed"] and report["decodes"]
    assert {"decode", "prefill_8"} <= set(report["operations"])
    device = tfscale.device.load(output)
    generation = device.generate("The", max_tokens=8)
    assert generation.stopped_by in ("length", "end") and len(generation.tokens) <= 8
    score = device.score("The quick brown")
    assert score.tokens == 16 and np.isfinite(score.perplexity)
    cached = KerasDecoder(cached_model(model, C, V), prefill_lengths=[])
    decoder = device.decoder()
    prompt = [tokenizer.end_id, *tokenizer.encode("The quick")]
    allowed = {"none": 1e-4, "float16": 0.05, "int8": 0.3}[quantize]
    np.testing.assert_allclose(decoder.feed(prompt), cached.feed(prompt), atol=allowed)
    assert (
        device.metadata["bytes_per_token"] is None
        and device.benchmark(tokens=4)["decode_tokens_per_second"] > 0
    )
    with open(f"{output}/README.md") as file:
        assert "kv_cache_k_0" in file.read()


def test_a_model_that_was_never_called_is_built():
    model = OfOurs()
    assert not model.weights
    assert cached_model(model, C, V).cache_spec() == {
        name: (1, C, 1, 8) for name in ("kv_cache_k_0", "kv_cache_v_0")
    }
    assert model.weights


@pytest.mark.slow
def test_without_a_cache_it_is_a_file_that_scores(tmp_path, tokenizer):
    common = {"sequence_length": C, "held_out": list(range(40)), "tokenizer": tokenizer}
    models = [(of_decoders(length=C), False), (MODELS["falcon"](), False)]
    for number, (model, cached) in enumerate(models):
        report = tfscale.export_keras(
            model, output=str(tmp_path / str(number)), cached=cached, **common
        )
        assert not report["decodes"]
        assert tfscale.device.load(str(tmp_path / str(number))).metadata["format"] == "scoring"


def test_a_cache_of_another_kind_is_refused():
    """RWKV has a state in its place."""
    sizes = {"hidden_size": 16, "head_size": 8, "intermediate_dim": 24}
    lora = {f"{name}_lora": 4 for name in ("gate", "mv", "aaa", "decay")}
    model = hub.RWKV7CausalLM(hub.RWKV7Backbone(vocabulary_size=V, num_layers=1, **sizes, **lora))
    with pytest.raises(
        ConfigError, match="does not hold keys and values of 24 tokens .* cached=False"
    ):
        cached_model(model, C, V)


def test_what_cannot_decode_is_refused(tmp_path, tokenizer):
    common = {
        "sequence_length": C,
        "held_out": list(range(40)),
        "tokenizer": tokenizer,
        "output": str(tmp_path / "x"),
    }
    few = hub.FalconCausalLM(hub.FalconBackbone(200, 2, 2, 16, 24))
    plain = keras.Sequential([keras.Input((None,), dtype="int32"), keras.layers.Embedding(V, V)])
    for model, options, message in (
        (
            of_decoders(positions=C - 1),
            {},
            f"sequence_length={C}, and .* has positions for {C - 1}",
        ),
        (
            MODELS["opt"](),
            {"sequence_length": C + 1},
            f"sequence_length={C + 1}, and .* has positions for {C}",
        ),
        (of_decoders(), {"end_id": 3}, "end_id=3, and the tokenizer's is 256"),
        (plain, {"cached": True}, "no layer that is known to look at earlier tokens"),
        (MODELS["falcon"](), {"tokenizer": None}, "tokenizer"),
        (few, {}, f"the tokenizer has {V} tokens and the model logits for 200"),
    ):
        with pytest.raises(ConfigError, match=message):
            tfscale.export_keras(model, **(common | options))
    with pytest.raises(DataError, match="held_out"):
        tfscale.export_keras(of_decoders(), **(common | {"held_out": [V]}))
    assert not list(tmp_path.iterdir())


def test_a_cache_that_computes_something_else_is_refused(tmp_path, tokenizer):
    """The model says that it decodes, and its own step forgets the position."""
    model = randomized(MODELS["opt"]())
    step = model.call_with_cache
    model.call_with_cache = lambda ids, cache, place: step(ids, cache, place * 0)
    with pytest.raises(
        ExportError, match="parity .* with cached=False it becomes a file that scores"
    ):
        tfscale.export_keras(
            model,
            output=str(tmp_path / "x"),
            sequence_length=C,
            held_out=list(range(40)),
            tokenizer=tokenizer,
        )
    assert not list(tmp_path.iterdir())
