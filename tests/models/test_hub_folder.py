"""Folders of Hugging Face: every entry of config.json and every tensor is read, or refused in a line."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tfscale.errors import ConfigError
from tfscale.models.hub import backbone_of, from_keras_hub, preset_message
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


REFUSED = [
    ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, 'rope_type="yarn"'),
    ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "no low_freq_factor"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    ("mistral", {"rope_scaling": [2]}, "expected an object"),
    ("mistral", {"layer_types": ["full_attention"] * 2}, "layer_types="),
    ("llama", {"hidden_act": "gelu"}, 'hidden_act="gelu" in a llama; expected "silu"'),
    ("llama", {"hidden_size": "16"}, "a whole number from 1 on"),
    ("llama", {"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000"),
    ("llama", {"rms_norm_eps": -1}, "rms_norm_eps=-1 in a llama; expected a number above 0"),
    ("llama", {"quantization_config": {"quant_method": "gptq"}}, "rounded already"),
    ("llama", {"compression_config": {"format": "int-quantized"}}, "rounded already"),
    ("llama", {"is_causal": False}, "is_causal=false in a llama; expected true"),
    ("gemma3", {"text_config": {"head_dim": 4, "is_causal": False}}, "is_causal=false in a gemma3"),
    ("gemma3", {"text_config": {"tie_word_embeddings": False}}, "tie_word_embeddings=false"),
    ("gemma3", {"text_config": [2]}, "expected an object"),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}, "layer_types="),
    ("gemma2", {"head_dim": 4, "layer_types": ["full_attention", "sliding_attention"]}, "layer_t"),
    ("gemma2", {"head_dim": 4, "hidden_activation": "silu"}, "hidden_activation"),
    ("gemma", {"head_dim": 4, "hidden_act": "silu"}, "hidden_act"),
    ("gemma", {"head_dim": 4, "hidden_act": "gelu", "attention_bias": True}, "attention_bias"),
    ("gemma3_text", {"head_dim": 4, "attn_logit_softcapping": 5.0}, "attn_logit_softcapping"),
    ("phi3", {"rope_scaling": {"type": "longrope", "short_factor": []}}, 'rope_type="longrope"'),
    ("smollm3", {"no_rope_layers": [0, 1]}, "no_rope_layers"),
    ("smollm3", {"mlp_bias": True}, "mlp_bias"),
]


@pytest.mark.parametrize("kind,changes,says", REFUSED)
def test_what_tfscale_cannot_do_is_refused_before_a_weight_is_read(kind, changes, says, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**SIZES, "model_type": kind, **changes}))
    with pytest.raises(ConfigError, match=says) as raised:
        from_keras_hub(str(tmp_path))
    assert "config.json" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name,value,says",
    [
        ("activation_function", "relu", "expected .gelu_new. or"),
        ("scale_attn_weights", False, "expected true"),
        ("scale_attn_by_inverse_layer_idx", True, "expected false"),
        ("add_cross_attention", True, "expected false"),
    ],
)
def test_gpt2_of_other_parts_is_refused(name, value, says, tmp_path):
    sizes = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4, "model_type": "gpt2"}
    (tmp_path / "config.json").write_text(json.dumps({**sizes, name: value}))
    with pytest.raises(ConfigError, match=says):
        from_keras_hub(str(tmp_path))


@pytest.mark.parametrize(
    "kind,changes,says",
    [
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "positions by 'yarn'"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "positions by 'linear'"),
    ],
)
def test_what_keras_hub_cannot_do_is_refused_for_its_backbones(kind, changes, says, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**SIZES, "model_type": kind, **changes}))
    with pytest.raises(ConfigError, match=says):
        backbone_of(str(tmp_path))


def gemma_3(folder, prefixes, config):
    """Writes weights of a small Gemma 3 under prefixes of its tensors and of its table."""
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6}
    text = {**sizes, **heads, "query_pre_attn_scalar": 6, "sliding_window": 5}
    shapes = {"embed_tokens.weight": (40, 16), "norm.weight": (16,)}
    norms = ("input", "post_attention", "pre_feedforward", "post_feedforward")
    for layer in range(2):
        attention = {"q_proj": (24, 16), "k_proj": (12, 16), "v_proj": (12, 16), "o_proj": (16, 24)}
        attention |= {"q_norm": (6,), "k_norm": (6,)}
        block = {f"self_attn.{name}.weight": shape for name, shape in attention.items()}
        block |= {f"{name}_layernorm.weight": (16,) for name in norms}
        block |= {f"mlp.{name}_proj.weight": (20, 16) for name in ("gate", "up")}
        block |= {"mlp.down_proj.weight": (16, 20)}
        shapes |= {f"layers.{layer}.{name}": shape for name, shape in block.items()}
    rng = np.random.default_rng(2)
    stem, head = prefixes
    weights = {f"{stem}{n}": rng.normal(0, 0.3, s).astype(np.float32) for n, s in shapes.items()}
    if head:
        weights[f"{head}lm_head.weight"] = weights[f"{stem}embed_tokens.weight"].copy()
        pictures = head.removesuffix("language_model.")
        weights[f"{pictures}vision_tower.a.weight"] = np.ones(3, np.float32)
        weights["multi_modal_projector.b"] = np.ones(3, np.float32)
    folder.mkdir()
    save_file(weights, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps(config(text)))
    return from_keras_hub(str(folder), sequence_length=12)


def test_the_part_of_a_gemma_3_that_writes_text(tmp_path):
    alone = gemma_3(
        tmp_path / "a", ("model.", ""), lambda text: {"model_type": "gemma3_text", **text}
    )
    ids = np.arange(12, dtype=np.int32)[None]
    whole = {"model_type": "gemma3", "vision_config": {"hidden_size": 8}}
    forms = {"language_model.model.": "language_model.", "model.language_model.": "model."}
    for number, prefixes in enumerate(forms.items()):
        named = (prefixes[0], prefixes[1] if number == 0 else "")
        found = gemma_3(tmp_path / str(number), named, lambda text: {**whole, "text_config": text})
        assert found.config == alone.config
        np.testing.assert_array_equal(found(ids), alone(ids))


def test_an_architecture_of_others_gets_the_list_and_the_way(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "olmo2"}))
    message = preset_message(str(tmp_path), ValueError("no converter.\nIn two lines"))
    assert (
        "the architecture olmo2, which is not one that tfscale imports: Gemma 1 and 2; " in message
    )
    assert "(no converter); a CausalLM that it loads is exported by tfscale.export_keras" in message


def test_what_is_no_whole_model_is_one_line(tmp_path):
    folder, _ = folder_of(tmp_path / "adapter", "llama")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="adapter_config.json: it holds an adapter"):
        from_keras_hub(folder)
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    with pytest.raises(ConfigError, match="give one of its snapshots, such as .*c0ffee"):
        from_keras_hub(str(tmp_path / "models--a--b"))
    folder, _ = folder_of(tmp_path / "pickled", "llama")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model.bin, which can run code, is not: save"):
        from_keras_hub(folder)


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


def damaged(path, change):
    """Writes a folder and lets `change` spoil it: it gets the weights and the path of their file."""
    folder, weights = folder_of(path, "llama")
    file = path / "model.safetensors"
    change(weights, file)
    return folder


def _shards(weights, file, names):
    places = {name: names[number % len(names)] for number, name in enumerate(weights)}
    for name in set(names):
        part = {key: weights[key] for key, place in places.items() if place == name}
        save_file(part, str(file.parent / name))
    file.unlink()
    (file.parent / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def _outside(weights, file):
    _shards(weights, file, ["a.safetensors", "../b.safetensors"])


def _twice(weights, file):
    _shards(weights, file, ["a.safetensors", "b.safetensors"])
    save_file(weights, str(file.parent / "b.safetensors"))


def _changed(**tensors):
    def change(weights, file):
        names = {name.replace("__", "."): value for name, value in tensors.items()}
        save_file({**weights, **names}, str(file))

    return change


def _header(entry):
    def change(weights, file):
        text = json.dumps({"model.norm.weight": entry}).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))

    return change


NORM = "model__norm__weight"


@pytest.mark.parametrize(
    "change,says",
    [
        (
            lambda weights, file: file.write_bytes(b"\xff" * 8 + b"{}"),
            "not a whole safetensors file",
        ),
        (lambda weights, file: file.write_bytes(b""), "not a whole safetensors file"),
        (lambda weights, file: file.write_bytes(file.read_bytes()[:-8]), "not a whole"),
        (_header({"dtype": "F32", "shape": [16], "data_offsets": [32, 96]}), "not a whole"),
        (_header({"dtype": "F32", "shape": [32], "data_offsets": [0, 64]}), "not a whole"),
        (_header({"dtype": "F64", "shape": [16], "data_offsets": [0, 64]}), "not a whole"),
        (_header({"dtype": "F32", "shape": [-16], "data_offsets": [0, 64]}), "not a whole"),
        (_header({"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}), "describes a model"),
        (_header({"dtype": "I32", "shape": [16], "data_offsets": [0, 64]}), "weight in I32"),
        (_changed(**{NORM: np.full(16, np.nan, np.float32)}), "norm.weight that are not finite"),
        (
            _changed(**{NORM: np.ones(15, np.float32)}),
            r"in the shape \[15\]; config.json says \[16",
        ),
        (
            _changed(model__layers__0__self_attn__q_proj__bias=np.ones(16, np.float32)),
            "q_proj.bias",
        ),
        (_changed(lm_head__weight=np.ones((40, 16), np.float32)), "tie_word_embeddings"),
        (_outside, "'../b.safetensors'; expected the name of a file in the same folder"),
        (_twice, "which another file of the folder has too"),
        (lambda weights, file: file.rename(file.parent / "pytorch_model.bin"), "no model.safetens"),
    ],
)
def test_hostile_files_are_one_line(change, says, tmp_path):
    folder = damaged(tmp_path / "theirs", change)
    with pytest.raises(ConfigError, match=says) as raised:
        from_keras_hub(folder, 24)
    assert "\n" not in str(raised.value) and folder in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda weights, file: _shards(weights, file, ["a.safetensors", "b.safetensors"]),
        lambda weights, file: save_file(
            {name.removeprefix("model."): weight for name, weight in weights.items()}, str(file)
        ),
        lambda weights, file: save_file(
            {
                **weights,
                "lm_head.weight": weights["model.embed_tokens.weight"].copy(),
                "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32),
            },
            str(file),
        ),
        lambda weights, file: (
            file.rename(file.parent / "blob") and file.symlink_to(file.parent / "blob")
        ),
    ],
)
def test_forms_of_the_same_weights(change, tmp_path):
    expected = from_keras_hub(damaged(tmp_path / "plain", lambda weights, file: None), 24)
    network = from_keras_hub(damaged(tmp_path / "other", change), 24)
    for have, want in zip(network.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(have, want)
