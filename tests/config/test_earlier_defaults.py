"""A new default changes no file that lacks the option, and no preset, import or other family."""

import dataclasses

import pytest
import yaml

import tfscale
from tfscale.config import BERTConfig, TrainConfig, TransformerConfig, to_dict
from tfscale.config.gpt2_parts import GPT2_PARTS
from tfscale.config.presets import PRESETS, preset

SIZES = {
    "vocabulary_size": 0,
    "head_dim": 0,
    "feed_forward_dim": 0,
    "num_kv_heads": 0,
    "attention_window": 0,
    "global_tokens": 0,
    "feed_forward_rank": 0,
    "embedding_rank": 0,
    "dropout": 0.0,
}
GPT2 = {
    "positions": "learned",
    "rope_base": 10_000.0,
    "local_rope_base": 0.0,
    "rope_fraction": 1.0,
    "rope_scaling": "none",
    "rope_factor": 1.0,
    "rope_low_frequency_factor": 1.0,
    "rope_high_frequency_factor": 4.0,
    "rope_original_length": 8192,
    "no_rope_every": 0,
    "normalization": "layer",
    "norm_epsilon": 1e-5,
    "query_key_norm": False,
    "query_scale_dim": 0,
    "query_key_value_bias": False,
    "attention_soft_cap": 0.0,
    "global_every": 0,
    "sandwich_norm": False,
    "activation": "gelu",
    "residual_initializer": "scaled",
    "embedding_skip": False,
    "use_bias": True,
    "tie_embeddings": True,
    "output_initializer": "normal",
    "logit_soft_cap": 0.0,
    "scale_embeddings": False,
}
LLAMA = {
    **GPT2,
    "positions": "rope",
    "normalization": "rms",
    "activation": "swiglu",
    "use_bias": False,
}
EXPECTED = {
    "gpt2-small": {
        "sequence_length": 1024,
        "hidden_dim": 768,
        "num_layers": 12,
        "num_heads": 12,
        **GPT2,
    },
    "gpt2-nano": {
        "sequence_length": 256,
        "hidden_dim": 256,
        "num_layers": 4,
        "num_heads": 4,
        **GPT2,
    },
    "llama-nano": {
        "sequence_length": 256,
        "hidden_dim": 256,
        "num_layers": 4,
        "num_heads": 4,
        "num_kv_heads": 2,
        "feed_forward_dim": 704,
        **LLAMA,
    },
    "llama-135m": {
        "sequence_length": 2048,
        "hidden_dim": 576,
        "num_layers": 30,
        "num_heads": 9,
        "num_kv_heads": 3,
        "feed_forward_dim": 1536,
        **LLAMA,
    },
    "llama-1b": {
        "sequence_length": 2048,
        "hidden_dim": 2048,
        "num_layers": 16,
        "num_heads": 32,
        "num_kv_heads": 8,
        "feed_forward_dim": 8192,
        **LLAMA,
        "rope_base": 500_000.0,
    },
}
"""Every option of the presets, as they were before any default changed."""
TINY = {"sequence_length": 8, "hidden_dim": 8, "num_layers": 1, "num_heads": 2}


def test_presets_are_what_they_were():
    assert list(EXPECTED) == list(PRESETS)
    for name, options in EXPECTED.items():
        assert to_dict(preset(name)) == {**SIZES, **options}


def test_the_default_transformer_has_these_parts():
    parts = to_dict(TransformerConfig())
    new = {
        "positions": "rope",
        "normalization": "rms",
        "query_key_norm": True,
        "activation": "relu_squared",
    }
    assert {name: parts[name] for name in GPT2} == {**GPT2, "use_bias": False, **new}


def test_bert_has_the_parts_that_it_had():
    parts = to_dict(BERTConfig())
    assert {name: parts[name] for name in GPT2} == {**GPT2, "use_bias": False}


def test_every_part_of_gpt2_is_named():
    assert dict(GPT2_PARTS) == {**GPT2, "use_bias": False}
    sizes = {*SIZES, "sequence_length", "hidden_dim", "num_layers", "num_heads"}
    assert {field.name for field in dataclasses.fields(TransformerConfig)} == {*GPT2_PARTS, *sizes}


def test_a_file_without_an_option_means_its_first_default():
    assert TransformerConfig.of_record({"hidden_dim": 64, "positions": "rope"}) == {
        **GPT2,
        "use_bias": False,
        "hidden_dim": 64,
        "positions": "rope",
    }
    assert TrainConfig.of_record({"steps": 5}) == {"steps": 5, "optimizer": "adamw"}
    assert TrainConfig.of_record({"optimizer": "lion"})["optimizer"] == "lion"
    # A family that has changed no default has nothing to add.
    assert tfscale.LSTMConfig.of_record({"hidden_dim": 64}) == {"hidden_dim": 64}


@pytest.mark.parametrize("family", ["transformer", "encoder_decoder"])
def test_a_keras_file_that_lacks_options_is_built_with_the_old_parts(family):
    from tfscale.models.encoder_decoder import EncoderDecoder
    from tfscale.models.transformer import TransformerLM

    kind, more = {
        "transformer": (TransformerLM, {}),
        "encoder_decoder": (
            EncoderDecoder,
            {"source_length": 8, "target_length": 8, "end_id": 0},
        ),
    }[family]
    config = {"vocabulary_size": 16, **TINY}
    network = kind.from_config({"config": config, **more})
    assert network.config == TransformerConfig(**config, **GPT2_PARTS)
    names = [weight.path for weight in network.weights]
    assert any("position" in name for name in names)
    assert not any("query_norm" in name for name in names)


def test_a_run_that_lacks_options_was_begun_with_the_old_ones(tmp_path):
    from tfscale.errors import ConfigError
    from tfscale.runs.same_run import check_same_run

    model = {"family": "transformer", **to_dict(TransformerConfig(**TINY, **GPT2_PARTS))}
    train = to_dict(TrainConfig(optimizer="adamw", learning_rate=1e-3))
    now = {"model": model, "train": train, "data": "data", "data_digest": "1"}
    earlier = {
        **now,
        "model": {"family": "transformer", **TINY},
        "train": {name: value for name, value in train.items() if name != "optimizer"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(earlier))
    assert not check_same_run(str(tmp_path), now)
    for section, name, old, new in (
        ("model", "positions", "learned", "rope"),
        ("model", "query_key_norm", False, True),
        ("train", "optimizer", "adamw", "muon"),
    ):
        other = {**now, section: {**now[section], name: new}}
        with pytest.raises(
            ConfigError, match=f"begun with {section}.{name}={old!r}, now it is {new!r}.* default"
        ):
            check_same_run(str(tmp_path), other)


def test_the_file_of_a_run_gives_its_options_on_the_command_line(tmp_path):
    from tfscale.commands.model_options import (
        network_of,
        network_parser,
        parse_model_options,
        training_of,
    )

    path = tmp_path / "config.yaml"
    document = {
        "model": {"family": "transformer", **TINY},
        "train": {"steps": 5},
        "data": "data",
        "data_digest": "1",
        "tokenizer_digest": "2",
    }
    path.write_text(yaml.safe_dump(document))
    options = parse_model_options([str(path)], network_parser)
    assert network_of(options) == TransformerConfig(**TINY, **GPT2_PARTS)
    assert training_of(options).optimizer == "adamw"
