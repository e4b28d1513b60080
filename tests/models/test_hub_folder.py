"""Folders of Hugging Face: what keras-hub's converters pass over is read, or refused in a line."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tfscale.errors import ConfigError
from tfscale.models.hub import from_keras_hub
from tfscale.models.hub_folder import unread_options

SIZES = {
    "architectures": ["ForCausalLM"],
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 20,
    "rms_norm_eps": 1e-2,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "rope_theta": 500.0,
    "use_sliding_window": False,
    "sliding_window": 5,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 40,
}
FOUND = {
    "rope_scaling": "llama3",
    "rope_factor": 32.0,
    "rope_low_frequency_factor": 1.0,
    "rope_high_frequency_factor": 4.0,
    "rope_original_length": 40,
}


def folder_of(path, kind, **changes):
    """Writes a folder with random weights under the names and in the shapes of transformers."""
    config = {**SIZES, "model_type": kind, **changes}
    wide, narrow, inner = (config[n] for n in ("hidden_size", "hidden_size", "intermediate_size"))
    keys = narrow // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {"embed_tokens.weight": (config["vocab_size"], wide), "norm.weight": (wide,)}
    for layer in range(config["num_hidden_layers"]):
        block = {
            "self_attn.q_proj.weight": (wide, wide),
            "self_attn.k_proj.weight": (keys, wide),
            "self_attn.v_proj.weight": (keys, wide),
            "self_attn.o_proj.weight": (wide, wide),
            "mlp.gate_proj.weight": (inner, wide),
            "mlp.up_proj.weight": (inner, wide),
            "mlp.down_proj.weight": (wide, inner),
            "input_layernorm.weight": (wide,),
            "post_attention_layernorm.weight": (wide,),
        }
        if kind == "qwen2":
            sizes = {"q": wide, "k": keys, "v": keys}
            block |= {f"self_attn.{part}_proj.bias": (size,) for part, size in sizes.items()}
        shapes |= {f"layers.{layer}.{name}": shape for name, shape in block.items()}
    rng = np.random.default_rng(2)
    weights = {
        f"model.{name}": rng.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    save_file(weights, str(path / "model.safetensors"))
    return str(path), weights


@pytest.mark.parametrize(
    "kind,changes,expected",
    [
        ("llama", {}, {"rope_scaling": "none"}),
        ("llama", {"rope_scaling": LLAMA_3}, FOUND),
        ("llama", {"rope_parameters": {**LLAMA_3, "rope_theta": 500.0}}, FOUND),
        ("qwen2", {}, {"rope_scaling": "none", "query_key_value_bias": True}),
        (
            "qwen2",
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_scaling": "linear", "rope_factor": 2.0},
        ),
    ],
)
def test_options_and_weights_of_the_folder(kind, changes, expected, tmp_path):
    folder, weights = folder_of(tmp_path / kind, kind, **changes)
    network = from_keras_hub(folder, sequence_length=24)
    options = vars(network.config)
    assert options["norm_epsilon"] == 1e-2 and options["rope_base"] == 500
    assert {name: options[name] for name in expected} == expected
    np.testing.assert_array_equal(
        network.token_embedding.embeddings, weights["model.embed_tokens.weight"]
    )


@pytest.mark.parametrize(
    "kind,changes,says",
    [
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "positions by 'yarn'"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "positions by 'linear'"),
        ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "without low_freq"),
        ("mistral", {"rope_scaling": [2]}, "expected an object"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ("llama", {"attention_bias": True}, "attention_bias=true"),
        ("llama", {"mlp_bias": True}, "mlp_bias=true"),
    ],
)
def test_what_keras_hub_cannot_do_is_refused_before_a_weight_is_read(kind, changes, says, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**SIZES, "model_type": kind, **changes}))
    with pytest.raises(ConfigError, match=says) as raised:
        from_keras_hub(str(tmp_path))
    assert "config.json" in str(raised.value) and "\n" not in str(raised.value)


def test_half_of_the_files_are_one_line(tmp_path):
    folder, weights = folder_of(tmp_path / "half", "llama")
    (tmp_path / "half" / "model.safetensors").rename(tmp_path / "half" / "a.safetensors")
    places = dict.fromkeys(weights, "a.safetensors") | {"model.norm.weight": "b.safetensors"}
    index = tmp_path / "half" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ConfigError, match="b.safetensors") as raised:
        from_keras_hub(folder)
    assert "\n" not in str(raised.value)


def test_weights_of_another_shape_are_one_line(tmp_path):
    folder, _ = folder_of(tmp_path / "other", "llama")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    with pytest.raises(ConfigError) as raised:
        from_keras_hub(folder)
    assert folder in str(raised.value) and "\n" not in str(raised.value)


def test_other_presets_have_nothing_unread(tmp_path):
    assert unread_options(str(tmp_path)) == {} == unread_options("gpt2_base_en")
    (tmp_path / "config.json").write_text(json.dumps({"class_name": "LlamaBackbone"}))
    assert unread_options(str(tmp_path)) == {}


@pytest.mark.parametrize("kind, notes", [("mistral", 1), ("llama", 0)])
def test_weights_that_are_read_in_another_type_are_said(kind, notes, tmp_path, capsys):
    (tmp_path / "config.json").write_text(f'{{"model_type": "{kind}"}}')
    unread_options(str(tmp_path))
    assert capsys.readouterr().err.count("of a mistral folder in float16") == notes
