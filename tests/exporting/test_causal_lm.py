"""A `CausalLM` of keras-hub to a file: small recipes, bundles and stop tokens, with keras-hub's own
`generate` as the reference."""

import json

import keras
import keras_hub
import numpy as np
import pytest

import tfscale
import tfscale.device
from tests.models.stepping import user_models
from tests.training.test_hub_text import GEMMA_PIECES, TURNS, sentence_pieces
from tfscale.device.bundle import read_bundle
from tfscale.errors import ConfigError, ExportError, TokenizerError
from tfscale.exporting.rounded import rounded_in_place
from tfscale.inference.generation import generate
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models.decoding import cached_model
from tfscale.text.builtin import builtin_corpus
from tfscale.text.tokenizers import train_tokenizer

CONTEXT, COUNT, PROMPT = 48, 16, "return"
hub = keras_hub.models


@pytest.fixture(scope="module")
def sample():
    files = [file for file in builtin_corpus("python-stdlib") if file.name == "textwrap.py"]
    return files[0].text().splitlines()


@pytest.fixture(scope="module")
def gemma(sample):
    """A Gemma 3 that says <end_of_turn>, a token that its tokenizer does not name as an end."""
    tokenizer = hub.Gemma3Tokenizer(
        sentence_pieces(
            sample,
            **GEMMA_PIECES,
            user_defined_symbols=[*TURNS],
        ),
        has_vision_tokens=False,
    )
    keras.utils.set_random_seed(3)
    backbone = hub.Gemma3Backbone(
        tokenizer.vocabulary_size(),
        image_size=None,
        num_layers=2,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=64,
        intermediate_dim=96,
        head_dim=32,
        use_post_ffw_norm=True,
        use_post_attention_norm=True,
        use_sliding_window_attention=True,
        sliding_window_size=6,
    )
    model = hub.Gemma3CausalLM(
        backbone=backbone, preprocessor=hub.Gemma3CausalLMPreprocessor(tokenizer)
    )
    model.compile(sampler="greedy", jit_compile=False)
    # Single bytes are never the likeliest, so that the text is not full of broken characters.
    size = tokenizer.vocabulary_size()
    words = [
        id
        for id in range(4, size)
        if len(tokenizer.id_to_token(id)) > 1 and tokenizer.id_to_token(id)[0] != "<"
    ]
    table = backbone.token_embedding.embeddings
    # Which token is called <end_of_turn> is a matter of the table's rows: one that is said after
    # some others. Norms of large scales after the parts of a block let these outweigh the token that
    # was read last, which a model of random weights otherwise repeats.
    prompt = [2, *np.asarray(tokenizer(PROMPT)).tolist()]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for weight in backbone.trainable_weights:
            mean = 4.0 if "/post_" in weight.path else 0.0
            weight.assign(rng.normal(mean, 0.3, weight.shape))
        values = table.numpy() * np.isin(np.arange(size), words)[:, None]
        table.assign(values)
        said = greedy(model, prompt, COUNT)
        later = [id for id in said[3:] if id not in (*said[:3], *prompt)]
        if later:
            break
    token = later[0]
    turn = tokenizer.token_to_id("<end_of_turn>")
    values[[turn, token]] = values[[token, turn]]
    table.assign(values)
    return model


def greedy(model, ids, count):
    """Greedy tokens by the whole forward pass, one window for each."""
    ids = list(ids)
    for _ in range(count):
        given = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)), int)}
        ids.append(int(np.asarray(model(given))[0, -1].argmax()))
    return ids[-count:]


@pytest.fixture
def export(gemma, sample, tmp_path):
    stream = np.asarray(gemma.preprocessor.tokenizer("\n".join(sample[:60]))).tolist()[:300]

    def make(model=gemma, **options):
        common = {
            "output": str(tmp_path / "export"),
            "sequence_length": CONTEXT,
            "held_out": stream,
            "stop_tokens": ["<end_of_turn>"],
        }
        return tfscale.export_keras(model, **(common | options))

    return make


def test_the_file_stops_where_keras_hub_stops(gemma, export, tmp_path):
    """The tokenizer is the model's own."""
    eos, turn = 1, gemma.preprocessor.tokenizer.token_to_id("<end_of_turn>")
    length = COUNT + 4
    # keras-hub writes the token that ended the text, a piece that its user defined, too.
    ended = gemma.generate(PROMPT, max_length=length, stop_token_ids=[eos, turn])
    expected = ended.removesuffix("<end_of_turn>")
    without = gemma.generate(PROMPT, max_length=length)
    assert without.startswith(expected) and len(PROMPT) + 3 < len(expected) < len(without)
    report = export()
    assert report["passed"] and report["decodes"]
    assert report["stop_tokens"] == ["<eos>", "<end_of_turn>"] and report["turns_end_with"] == []
    info = json.loads((tmp_path / "export" / "model.json").read_text())
    assert info["stop_ids"] == [eos, turn]
    found = tfscale.device.load(str(tmp_path / "export")).generate(PROMPT, COUNT)
    assert PROMPT + found.text == expected and found.stopped_by == "end"


@pytest.mark.slow
def test_a_bundle_in_int4(gemma, export, tmp_path):
    report = export(format="litertlm", quantize="int4")
    values = {row["name"]: row["value"] for row in report["checks"]}
    # Against the network whose weights are rounded as in the file, only what int8 activations add.
    assert report["passed"] and 0 < values["relative_logit_error (xnnpack)"] < 0.03
    before, rounded = (report["perplexity"][name] for name in ("keras", "keras_rounded"))
    assert before != pytest.approx(rounded, rel=1e-3)
    assert rounded == pytest.approx(report["perplexity"]["file"], rel=0.01)
    # By hand: the table in int8 with a scale for each row, once; 12 bytes for each scale there.
    size = gemma.backbone.vocabulary_size
    blocks_of_64, blocks_of_32 = 2 * (64 * (64 + 32 + 32 + 64) + 2 * 64 * 96), 2 * 96 * 64
    scales = 2 * (blocks_of_64 // 64 + blocks_of_32 // 32)
    vectors = 4 * (64 * (2 * 4 + 1) + 2 * 2 * 32)
    in_blocks = (blocks_of_64 + blocks_of_32) // 2 + scales
    assert report["sizes"]["weight_bytes"] == size * 64 + in_blocks + vectors
    bundle = str(tmp_path / "export" / "model.litertlm")
    turn = gemma.preprocessor.tokenizer.token_to_id("<end_of_turn>")
    stops = read_bundle(bundle).stop_tokens
    assert [list(stop.token_ids.ids) for stop in stops] == [[1], [turn]]
    decoder = cached_model(gemma, CONTEXT, size)
    tokenizer = tfscale.load_tokenizer(str(tmp_path / "export"))
    kept = decoder.weights[0].numpy()
    with rounded_in_place(decoder, "int4"):
        said = generate(KerasDecoder(decoder), tokenizer, PROMPT, COUNT)
        assert (decoder.weights[0].numpy() != kept).any()
    np.testing.assert_array_equal(decoder.weights[0].numpy(), kept)
    assert tfscale.generate(bundle, prompt=PROMPT, max_tokens=COUNT).text == said.text
    assert said.stopped_by == "end"


@pytest.mark.slow
def test_what_a_chat_would_need_is_reported(gemma, export):
    report = export(stop_tokens=[])
    assert report["stop_tokens"] == ["<eos>"] and report["turns_end_with"] == ["<end_of_turn>"]


def test_mistakes(gemma, export, tmp_path):
    bare = hub.Gemma3CausalLM(backbone=gemma.backbone, preprocessor=None)
    small = hub.FalconCausalLM(hub.FalconBackbone(200, 2, 2, 16, 24))
    own = user_models.randomized(user_models.sequential(user_models.lstm()))
    byte = {"tokenizer": train_tokenizer("byte", [], 257), "held_out": [1, 2, 3], "stop_tokens": []}
    for model, options, kind, message in (
        (gemma, {"stop_tokens": ["<|eot_id|>"]}, TokenizerError, "'<|eot_id|>' is not a special"),
        (
            bare,
            {"format": "litertlm"},
            ConfigError,
            "needs a tokenizer, and Gemma3CausalLM has none",
        ),
        (gemma, {"cached": False}, ConfigError, "stop_tokens=.* are for a file that generates"),
        (small, byte, ConfigError, "the tokenizer has 257 tokens and the model logits for 200"),
        (
            own,
            byte | {"stop_tokens": ["</turn>"]},
            TokenizerError,
            "'</turn>' is not a special token of the byte tokenizer, whose special tokens are </s>",
        ),
        (own, byte | {"format": "litertlm"}, ExportError, "of the family recurrent has none"),
        (
            own,
            byte | {"format": "litertlm", "cached": False},
            ConfigError,
            "format='litertlm' is for models that write text; give format='tflite' for this one,"
            " which scores: cached=False was given",
        ),
        (own, byte | {"format": "litert"}, ConfigError, "format: expected one of tflite, litertlm"),
        (own, byte | {"quantize": "int3"}, ConfigError, "quantize: expected one of .*int4_all"),
        (
            own,
            byte | {"quantize": "int4", "cached": False},
            ConfigError,
            "quantize: expected one of none, float16, int8; received 'int4'",
        ),
    ):
        with pytest.raises(kind, match=message.replace("|", r"\|")) as error:
            export(model, **options)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="stop_tokens: for a language model"):
        tfscale.export_keras(
            own, output=str(tmp_path / "x"), samples=np.zeros((2, 4), "int32"), stop_tokens=["a"]
        )
    assert not list(tmp_path.iterdir())
