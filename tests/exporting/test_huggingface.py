"""Folders for Hugging Face: each architecture through keras-hub's reader, and what has no form there."""

import dataclasses
import json
import os

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.exporting.exported import CONFIGS, make_run
from tests.exporting.hub_networks import CASES, GEMMA_2, LLAMA, config_of, network_of
from tests.exporting.hub_tokenizers import tokenizer_of
from tests.models.test_hub_folder import folder_of
from tests.slow import slow_but
from tfscale import cli
from tfscale.config import ExportConfig, LSTMConfig, TransformerConfig
from tfscale.config.gpt2_parts import GPT2_PARTS
from tfscale.errors import ConfigError, ExportError
from tfscale.exporting.export import export_run
from tfscale.exporting.huggingface import check_tokenizer, write_hub_folder
from tfscale.exporting.huggingface_parity import compare_hub_folder
from tfscale.exporting.report import Checks
from tfscale.exporting.safetensors_file import INDEX, checkpoint_files, write_checkpoint
from tfscale.models import build_network
from tfscale.models.hub import from_keras_hub
from tfscale.models.hub_parts import FREE, LLAMA_PARTS, has_parts, obstacles, parts_of
from tfscale.models.hub_writer import writer_of
from tfscale.registry import HUB_WRITERS
from tfscale.runs.folder import load_run
from tfscale.runs.hub import import_
from tfscale.text.tokenizers import train_tokenizer
from tfscale.text.tokenizers.special import SpecialTokens


def checked(folder, network, tokenizer, held_out, quantize="none"):
    """Writes and compares a folder; returns the report."""
    folder.mkdir()
    write_hub_folder(str(folder), network, tokenizer, quantize)
    checks = Checks()
    rest = compare_hub_folder(checks, network, tokenizer, str(folder), held_out, quantize=quantize)
    return checks.report(quantize, rest)


@pytest.mark.parametrize(
    "case",
    slow_but(
        list(CASES),
        *("gpt2", "llama_tied", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_one_base"),
        *("phi3", "smollm3"),
    ),
)
def test_each_architecture(case, tokenizer, held_out, tmp_path):
    kind, reads_back, _ = CASES[case]
    report = checked(tmp_path / "hub", network_of(case), tokenizer, held_out[:40])
    assert report["passed"], report["checks"]
    described = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert described["model_type"] == kind
    found = {row["name"]: row["value"] for row in report["checks"]}
    assert ("top1_agreement (keras-hub)" in found) == reads_back
    if reads_back:
        assert report["greedy"]["keras"] == report["greedy"]["file"]
        assert found["max_logit_difference (keras-hub)"] < 1e-4 * max(1, spread(case))
    stored = load_file(str(tmp_path / "hub" / "model.safetensors"))
    numbers = sum(array.size for array in stored.values())
    # Zeros stand for biases that the network does not have.
    zeros = sum(
        array.size for name, array in stored.items() if name.endswith("bias") and not array.any()
    )
    assert numbers - zeros == network_of(case).count_params()


def spread(case):
    return float(np.std(np.asarray(network_of(case)(np.arange(40)[None]))))


def test_a_wrong_tensor_is_found(tokenizer, held_out, tmp_path, monkeypatch):
    writer = type(writer_of(config_of("llama")))
    monkeypatch.setattr(writer, "norm_tensors", swapped_norms)
    report = checked(tmp_path / "hub", network_of("llama"), tokenizer, held_out[:40])
    assert not report["passed"]
    assert all(row["passed"] for row in report["checks"] if row["name"] == "tensors_equal")


def swapped_norms(self, block):
    yield self.scale("input_layernorm.weight", block.feed_forward_norm)
    yield self.scale("post_attention_layernorm.weight", block.attention_norm)


@pytest.mark.parametrize("kind,untied", [("llama", False), ("llama", True), ("qwen2", False)])
def test_a_folder_comes_back_bit_for_bit(kind, untied, tokenizer, tmp_path):
    folder, weights = folder_of(
        tmp_path / "theirs", kind, vocab_size=257, tie_word_embeddings=not untied
    )
    if untied:
        rng = np.random.default_rng(1)
        weights["lm_head.weight"] = rng.normal(size=(257, 16)).astype(np.float32)
        save_file(weights, os.path.join(folder, "model.safetensors"))
    network = from_keras_hub(folder, sequence_length=24)
    (tmp_path / "ours").mkdir()
    write_hub_folder(str(tmp_path / "ours"), network, tokenizer)
    ours = load_file(str(tmp_path / "ours" / "model.safetensors"))
    assert ours.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
    theirs = json.loads((tmp_path / "theirs" / "config.json").read_text())
    described = json.loads((tmp_path / "ours" / "config.json").read_text())
    differs = {name for name in theirs.keys() & described.keys() if theirs[name] != described[name]}
    # The window of this Qwen is off in one form or the other.
    assert differs <= {"architectures", "sliding_window"}


def test_the_command_writes_the_folder(tokenizer, held_out, tmp_path, capsys):
    stops = tokenizer.with_special(SpecialTokens(start_id=3, stop_ids=(5, 7)))
    run = make_run(tmp_path / "run", network_of("llama"), stops)
    config = ExportConfig(output=str(tmp_path / "export"), format="huggingface", parity_tokens=40)
    report = export_run(run, config, held_out[:40])
    assert report["passed"] and "keras-hub" in report["compared_by"]
    assert sorted(os.listdir(tmp_path / "export")) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.json",
        "model.safetensors",
        "parity.json",
        "report.html",
        "special_tokens_map.json",
        "tokenizer",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    generation = json.loads((tmp_path / "export" / "generation_config.json").read_text())
    assert generation["bos_token_id"] == 3 and generation["eos_token_id"] == [256, 5, 7]
    described = json.loads((tmp_path / "export" / "config.json").read_text())
    assert described["eos_token_id"] == [256, 5, 7] and described["dtype"] == "float32"
    readme = (tmp_path / "export" / "README.md").read_text()
    assert "LlamaForCausalLM" in readme and "AutoModelForCausalLM" in readme
    assert cli.main(["generate", str(tmp_path / "export"), "--prompt", "a"]) == 2
    assert "is a file for other programs" in capsys.readouterr().err


def test_float16_halves_the_file(tokenizer, held_out, tmp_path):
    # As it is initialised: the sharp weights of the others turn rounding into perplexity.
    network = build_network(config_of("qwen3"))
    report = checked(tmp_path / "half", network, tokenizer, held_out[:40], "float16")
    assert report["passed"], report["checks"]
    with safe_open(str(tmp_path / "half" / "model.safetensors"), "np") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {np.dtype("float16")}  # noqa: SIM118
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"


def test_a_number_beyond_float16_is_one_line(tokenizer, tmp_path):
    network = build_network(config_of("llama"))
    network.final_norm.scale.assign(np.full(24, 1e6))
    with pytest.raises(
        ExportError, match=r"model.norm.weight has numbers .* float16; try quantize"
    ):
        write_hub_folder(str(tmp_path), network, tokenizer, "float16")


def test_a_large_checkpoint_is_cut(tmp_path):
    network = network_of("llama")
    tensors = list(writer_of(network.config).tensors(network))
    names = write_checkpoint(str(tmp_path), tensors, "float32", largest=30_000)
    assert names[0] == INDEX and len(names) > 2
    places = json.loads((tmp_path / INDEX).read_text())
    assert places["metadata"]["total_size"] == 4 * network.count_params()
    stored = {}
    for path in checkpoint_files(str(tmp_path)):
        stored |= load_file(path)
    assert list(stored) and stored.keys() == places["weight_map"].keys()
    for tensor in tensors:
        np.testing.assert_array_equal(stored[tensor.name], tensor.read())
    config = {**writer_of(network.config).describe(network.config), "eos_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ids = np.arange(40)[None].astype(np.int32)
    again = from_keras_hub(str(tmp_path), sequence_length=48)
    np.testing.assert_allclose(again(ids), network(ids), atol=1e-5)


def test_every_option_has_its_place():
    fields = {field.name for field in dataclasses.fields(TransformerConfig)}
    assert fields == {*FREE, *LLAMA_PARTS} and not {*FREE} & {*LLAMA_PARTS}
    assert has_parts(TransformerConfig()) and not has_parts(LSTMConfig()) and not has_parts(None)
    assert all(set(writer.parts) == set(LLAMA_PARTS) for writer in HUB_WRITERS)
    assert HUB_WRITERS.names() == [writer.name for writer in HUB_WRITERS]


@pytest.mark.parametrize(
    "options,same",
    [
        ({"head_dim": 6}, {"head_dim": 0}),
        ({"num_kv_heads": 4}, {"num_kv_heads": 0}),
        ({"query_scale_dim": 6}, {"query_scale_dim": 0}),
        ({"attention_window": 48}, {"attention_window": 0}),
        ({"rope_scaling": "linear"}, {"rope_scaling": "none"}),
    ],
)
def test_options_that_compute_the_same_are_the_same_part(options, same):
    ours = TransformerConfig(**{**LLAMA, **options})
    assert parts_of(ours) == parts_of(TransformerConfig(**{**LLAMA, **same}))


@pytest.mark.parametrize(
    "options,says",
    [
        ({}, r"Qwen 3 \(Qwen3ForCausalLM\) but for activation=relu_squared \(it has swiglu\)$"),
        ({"activation": "swiglu", "embedding_skip": True}, "Qwen 3 .*embedding_skip=true .*false"),
        ({**LLAMA, "feed_forward_rank": 4}, "Llama 2 to 3.2 .*feed_forward_rank=4 .*; or Mistral "),
        ({**LLAMA, "attention_window": 5, "global_tokens": 2}, "Mistral .*global_tokens=2"),
        ({**LLAMA, "normalization": "layer"}, "normalization=layer .it has rms."),
        (
            {**GEMMA_2, "hidden_dim": 26},
            r"Gemma 2 .*hidden_dim=26 \(it has a multiple of num_heads=4\)",
        ),
        (
            {**GPT2_PARTS, "num_kv_heads": 1, "activation": "gelu_tanh"},
            "GPT-2 .*num_kv_heads=1 .it has 0.",
        ),
    ],
)
def test_what_no_architecture_has_is_named(options, says):
    with pytest.raises(ConfigError, match=says) as raised:
        writer_of(TransformerConfig(**{"vocabulary_size": 257, **options}))
    assert "\n" not in str(raised.value)


def test_obstacles_are_counted():
    config = TransformerConfig(vocabulary_size=257, query_key_norm=False)
    assert obstacles(config, LLAMA_PARTS) == ["activation=relu_squared (it has swiglu)"]


def refused(tmp_path, run):
    """Returns the one line of a refused export, which wrote nothing."""
    output = tmp_path / "export"
    config = ExportConfig(output=str(output), format="huggingface", parity_tokens=16)
    with pytest.raises((ConfigError, ExportError)) as raised:
        export_run(run, config, [1] * 16)
    assert not output.exists() and "\n" not in str(raised.value)
    return str(raised.value)


def test_other_families_and_tokenizers_are_refused(tokenizer, tmp_path):
    lstm = make_run(tmp_path / "lstm", build_network(CONFIGS["lstm"]), tokenizer)
    assert "is for the family transformer; this is of the family lstm: give" in refused(
        tmp_path, lstm
    )
    words = train_tokenizer("word", ["the quick brown fox"], 7)
    config = dataclasses.replace(config_of("llama"), vocabulary_size=7)
    run = make_run(tmp_path / "word", build_network(config), words)
    assert "no form for a word tokenizer" in refused(tmp_path, run)
    run = make_run(tmp_path / "qwen2", network_of("qwen2"), tokenizer)
    assert "into the words of Qwen 2 and 2.5" in refused(tmp_path, run)
    default = TransformerConfig(vocabulary_size=257)
    run = make_run(tmp_path / "default", build_network(default), tokenizer)
    assert "activation=relu_squared" in refused(tmp_path, run)
    with pytest.raises(ConfigError, match="quantize: expected one of none, float16"):
        ExportConfig(output="x", format="huggingface", quantize="int8")


def test_an_imported_folder_comes_back(tmp_path):
    ours = tokenizer_of("bpe_llama3")
    config = dataclasses.replace(config_of("llama_tied"), vocabulary_size=ours.vocabulary_size)
    (tmp_path / "theirs").mkdir()
    write_hub_folder(str(tmp_path / "theirs"), build_network(config), ours)
    import_(str(tmp_path / "theirs"), str(tmp_path / "run"), sequence_length=48)
    run = load_run(str(tmp_path / "run"))
    assert isinstance(run.tokenizer.original, dict) and run.tokenizer.original
    (tmp_path / "back").mkdir()
    write_hub_folder(str(tmp_path / "back"), run.network, run.tokenizer)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    before = load_file(str(tmp_path / "theirs" / "model.safetensors"))
    after = load_file(str(tmp_path / "back" / "model.safetensors"))
    assert before.keys() == after.keys()
    assert all(np.array_equal(after[name], array) for name, array in before.items())


def test_what_transformers_would_pass_over_is_refused():
    """Gemma 3 of transformers 5 has no cap on scores, though its config names one."""
    capped = {**network_of("gemma3").config.__dict__, "attention_soft_cap": 5.0}
    with pytest.raises(
        ConfigError, match=r"Gemma 3 .* but for attention_soft_cap=5.0 \(it has 0\)"
    ):
        writer_of(TransformerConfig(**capped))


def test_entries_for_earlier_readers_are_left_out_where_they_would_say_something_else():
    def described(case, **changes):
        config = dataclasses.replace(network_of(case).config, **changes)
        return writer_of(config).describe(config)

    one = described("gemma3_one_base")
    assert not {"rope_scaling", "rope_local_base_freq"} & one.keys()
    assert one["rope_parameters"]["sliding_attention"]["rope_type"] == "llama3"
    two = described("gemma3")
    assert two["rope_local_base_freq"] == 10_000 and two["rope_scaling"]["factor"] == 8
    assert "max_window_layers" not in described("qwen2_windows")
    assert described("qwen2_windows", global_every=0)["max_window_layers"] == 0
    # Stretched by 1 is not stretched.
    assert "rope_scaling" not in described("phi3_stretched_by_one")
    assert described("phi3_stretched_by_one")["rope_parameters"]["rope_type"] == "default"


def test_a_tokenizer_that_transformers_replaces_is_refused():
    writer = writer_of(network_of("qwen2").config)
    check_tokenizer(writer, tokenizer_of("bpe_qwen"))
    for kind in ("bpe_gpt2", "bpe_llama3", "byte", "sentencepiece"):
        with pytest.raises(ConfigError, match="Qwen2ForCausalLM into the words of Qwen 2 and 2.5"):
            check_tokenizer(writer, tokenizer_of(kind))
