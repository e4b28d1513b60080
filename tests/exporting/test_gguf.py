"""GGUF files read back: by the package `gguf`, by NumPy, and by the commands."""

import copy
import dataclasses
import json
import os
import re

import gguf
import numpy as np
import pytest

from tests.exporting.exported import make_run
from tests.exporting.gguf_models import (
    IN_LLAMA_CPP,
    LLAMA,
    MODELS,
    TOKENIZERS,
    network_of,
    pieces,
    qwen_file,
    taken,
)
from tests.slow import slow_but
from tests.text import theirs
from tfscale import cli
from tfscale.config import ExportConfig, LSTMConfig, TransformerConfig
from tfscale.errors import ConfigError, ExportError, TokenizerError
from tfscale.exporting.export import export_run
from tfscale.exporting.llama_cpp import comparing, computing
from tfscale.exporting.llama_cpp.architectures import ARCHITECTURES, architecture_of
from tfscale.exporting.llama_cpp.computing import GGUFNetwork
from tfscale.exporting.llama_cpp.tensors import interleave, named_tensors
from tfscale.exporting.llama_cpp.vocabulary import vocabulary_entries
from tfscale.exporting.llama_cpp.writing import write_gguf
from tfscale.models import build_network
from tfscale.text.tokenizers import train_tokenizer
from tfscale.text.tokenizers.gguf_words import word_cutter
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.special import SpecialTokens

TEXT = "def f(x):\n    return x + 1\n" * 12


def run_of(folder, name="llama", tokenizer=None):
    return make_run(folder, network_of(name), tokenizer or pieces())


def exported(folder, name="llama", quantize="none", tokenizer=None):
    run = run_of(folder / "run", name, tokenizer)
    held_out = run.tokenizer.encode(TEXT)[:96]
    options = ExportConfig(output=str(folder / "export"), format="gguf", quantize=quantize)
    return run, export_run(run, options, held_out=held_out), folder / "export"


def rows_by_pairs(rows, width):
    """Undoes llama.cpp's order of a head's rows one by one: neighbours are a pair's two numbers."""
    result = np.empty_like(rows)
    for head in range(len(rows) // width):
        for pair in range(width // 2):
            first = head * width
            result[first + pair] = rows[first + 2 * pair]
            result[first + width // 2 + pair] = rows[first + 2 * pair + 1]
    return result


@pytest.mark.parametrize(
    "name", slow_but(list(MODELS), "qwen2", "gemma2", "gemma3_pattern", "smollm3", "phi3", "gpt2")
)
def test_the_tensors_of_the_file_are_those_of_the_network(name, tmp_path):
    network = network_of(name)
    config, kind = network.config, architecture_of(network.config)
    assert kind.name == IN_LLAMA_CPP.get(name, name)
    path = str(tmp_path / "model.gguf")
    write_gguf(network, kind, vocabulary_entries(pieces()), "none", path)
    reader = gguf.GGUFReader(path)
    found = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    # The names are those that the package knows of the architecture.
    number = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == kind.name)
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[number]}
    for tensor in found:
        assert re.sub(r"^blk\.\d+", "blk.{bid}", tensor.rsplit(".", 1)[0]) in known
    np.testing.assert_array_equal(found["token_embd.weight"], network.token_embedding.embeddings)
    for index, block in enumerate(network.blocks):
        kernel = np.asarray(block.attention.query_key_value.kernel)
        if f"blk.{index}.attn_qkv.weight" in found:
            joined = found[f"blk.{index}.attn_qkv.weight"]
        else:
            parts = [found[f"blk.{index}.attn_{letter}.weight"] for letter in "qkv"]
            if kind.name in ("llama", "smollm3"):
                parts[:2] = [rows_by_pairs(part, config.head_width) for part in parts[:2]]
            joined = np.concatenate(parts)
        np.testing.assert_array_equal(joined.T, kernel)
        gate = f"blk.{index}.ffn_gate.weight"
        up = found[f"blk.{index}.ffn_up.weight"]
        expand = np.concatenate([found[gate], up]) if gate in found else up
        np.testing.assert_array_equal(expand.T, block.expand.kernel)
        np.testing.assert_array_equal(
            found[f"blk.{index}.ffn_down.weight"].T, block.contract.kernel
        )
    # What NumPy computes of the file alone.
    ids = np.random.default_rng(4).integers(0, 500, 40)
    expected = np.asarray(network(ids[None]))[0]
    logits = GGUFNetwork(path).logits(ids)
    np.testing.assert_allclose(logits, expected, atol=3e-5 * float(np.abs(expected).max()))


def test_the_entries_of_a_small_file_by_hand(tmp_path):
    path = str(tmp_path / "model.gguf")
    network = network_of("llama3.2")
    tokenizer = pieces()
    write_gguf(
        network, architecture_of(network.config), vocabulary_entries(tokenizer), "none", path
    )
    entries = GGUFNetwork(path).entries
    expected = {
        "general.architecture": "llama",
        "general.file_type": 0,
        "llama.block_count": 2,
        "llama.context_length": 48,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 96,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 500.0,
        "llama.vocab_size": 500,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.eot_token_id": 400,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
    }
    assert {key: entries[key] for key in expected} == expected
    assert entries["llama.attention.layer_norm_rms_epsilon"] == np.float32(1e-6)
    tokens = entries["tokenizer.ggml.tokens"]
    assert tokens == [tokenizer.piece(id) for id in range(500)]
    # Unknown, end (control), bytes.
    assert entries["tokenizer.ggml.token_type"][:3] == [2, 3, 6]
    # Llama 3's scaling with 40 tokens: pairs of a wavelength below 10 are kept, above 40 divided.
    factors = GGUFNetwork(path).tensor("rope_freqs.weight")
    wavelengths = 2 * np.pi * 500 ** (np.arange(0, 16, 2) / 16)
    assert np.all(factors[wavelengths < 10] == 1)
    np.testing.assert_allclose(factors[wavelengths > 40], 32, rtol=1e-6)


def test_rows_of_a_pair_become_neighbours():
    np.testing.assert_array_equal(interleave(np.arange(8), 4), [0, 2, 1, 3, 4, 6, 5, 7])
    rows = np.arange(24).reshape(8, 3)
    np.testing.assert_array_equal(rows_by_pairs(interleave(rows, 4), 4), rows)


@pytest.mark.parametrize(
    "quantize, stored", [("none", "F32"), ("float16", "F16"), ("int8", "Q8_0")]
)
def test_an_export_is_compared_and_described(quantize, stored, tmp_path, monkeypatch):
    run, report, folder = exported(tmp_path, "qwen3", quantize)
    found = {row["name"]: row["value"] for row in report["checks"]}
    assert report["passed"] and found["tensors_missing_or_unknown"] == 0
    assert found["rounding_steps (F32)"] == 0
    assert found.get(f"rounding_steps ({stored})", 0) <= 1
    assert sorted(os.listdir(folder)) == [
        "README.md",
        "model.gguf",
        "model.json",
        "parity.json",
        "report.html",
        "tokenizer",
    ]
    types = {t.tensor_type.name for t in gguf.GGUFReader(str(folder / "model.gguf")).tensors}
    assert types == {"F32", stored}
    readme = (folder / "README.md").read_text()
    weights = f"{run.network.count_params():,} parameters, weights {stored}"
    assert f"qwen3 in llama.cpp, {weights}" in readme
    assert json.loads((folder / "model.json").read_text())["format"] == "gguf"
    # The README's own code.
    monkeypatch.chdir(folder)
    exec(re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1], {})
    with pytest.raises(ExportError, match="is a file for other programs"):
        import tfscale.device

        tfscale.device.load(str(folder))


def test_a_chat_template_is_in_the_file(tmp_path):
    tokenizer = copy.copy(pieces())
    template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    named = [{"name": "default", "template": template}, {"name": "tool_use", "template": "x"}]
    tokenizer.original = {"tokenizer_config.json": json.dumps({"chat_template": named}).encode()}
    _, _, folder = exported(tmp_path, tokenizer=tokenizer)
    entries = GGUFNetwork(str(folder / "model.gguf")).entries
    assert entries["tokenizer.chat_template"] == template
    assert entries["tokenizer.chat_template.tool_use"] == "x"
    assert entries["tokenizer.chat_templates"] == ["tool_use"]
    tokenizer.original = {"chat_template.jinja": b"\xff"}
    with pytest.raises(TokenizerError, match="chat_template.jinja is no text"):
        exported(tmp_path / "other", tokenizer=tokenizer)
    assert not (tmp_path / "other" / "export").exists()


def test_a_reader_is_told_what_llama_cpp_does_not_compose(tmp_path):
    tokenizer = qwen_file()
    run = make_run(tmp_path / "run", network_of("qwen3", tokenizer.vocabulary_size), tokenizer)
    config = ExportConfig(output=str(tmp_path / "export"), format="gguf")
    export_run(run, config, tokenizer.encode(TEXT)[:96])
    assert "decomposed characters composed (NFC)" in (tmp_path / "export/README.md").read_text()
    _, _, folder = exported(tmp_path / "other")
    assert "NFC" not in (folder / "README.md").read_text()


def test_q8_0_by_hand(tmp_path):
    network = network_of("llama")
    path = str(tmp_path / "model.gguf")
    write_gguf(network, architecture_of(network.config), vocabulary_entries(pieces()), "int8", path)
    values = np.asarray(network.token_embedding.embeddings)[7, :32]
    scale = np.abs(values).max() / 127
    codes = np.round(values / scale)
    np.testing.assert_allclose(
        GGUFNetwork(path).tensor("token_embd.weight")[7, :32], codes * np.float16(scale), rtol=1e-6
    )


@pytest.mark.parametrize(
    "damage, row",
    [
        (lambda file: file.entries.update({"llama.rope.freq_base": 9_000.0}), "logit_difference"),
        (lambda file: file.entries.update({"tokenizer.ggml.eos_token_id": 2}), "vocabulary_entr"),
        (
            lambda file: file.tensors.update(
                {"blk.0.attn_q.weight": file.tensors["blk.1.attn_q.weight"]}
            ),
            "rounding_steps",
        ),
        (
            lambda file: file.tensors.update({"more": file.tensors["token_embd.weight"]}),
            "tensors_missing",
        ),
    ],
)
def test_a_file_that_differs_is_not_written(damage, row, tmp_path, monkeypatch):
    class Damaged(GGUFNetwork):
        def __init__(self, path):
            super().__init__(path)
            damage(self)

    monkeypatch.setattr(comparing, "GGUFNetwork", Damaged)
    with pytest.raises(ExportError, match=f"fails its parity check: .*{row}"):
        exported(tmp_path)
    assert not (tmp_path / "export").exists()


def test_queries_in_another_order_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(computing, "_NEIGHBOURS", ())
    with pytest.raises(ExportError, match="max_logit_difference"):
        exported(tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"attention_window": 7}, "closest, llama, does not compute attention_window=7 .it has 0"),
        ({"activation": "relu_squared"}, "does not compute activation=relu_squared .it has swiglu"),
        ({"embedding_skip": True}, "embedding_skip=true"),
        ({"no_rope_every": 3}, "no_rope_every=3"),
        ({"query_scale_dim": 8}, "query_scale_dim=8 .it has 16 with 2 layers"),
    ],
)
def test_options_that_no_architecture_has_are_named(changes, message, tmp_path):
    network = build_network(TransformerConfig(vocabulary_size=500, **LLAMA | changes))
    run = make_run(tmp_path / "run", network, pieces())
    with pytest.raises(ExportError, match=message):
        export_run(run, ExportConfig(output=str(tmp_path / "export"), format="gguf"))
    assert not (tmp_path / "export").exists()


def test_other_models_tokenizers_and_recipes_are_refused(tmp_path):
    config = ExportConfig(output=str(tmp_path / "export"), format="gguf")
    lstm = build_network(
        LSTMConfig(vocabulary_size=500, sequence_length=16, embedding_dim=8, hidden_dim=8)
    )
    with pytest.raises(ConfigError, match="this is of the family lstm: give --format tflite"):
        export_run(make_run(tmp_path / "lstm", lstm, pieces()), config)
    network = build_network(TransformerConfig(vocabulary_size=257, **LLAMA))
    with pytest.raises(ExportError, match="no tokenizer of kind byte: it takes bpe, and"):
        export_run(make_run(tmp_path / "byte", network, ByteTokenizer()), config)
    unigram = train_tokenizer("sentencepiece", [TEXT], 280)
    network = build_network(TransformerConfig(vocabulary_size=280, **LLAMA))
    with pytest.raises(ExportError, match="no SentencePiece unigram .* --sentencepiece-model bpe"):
        export_run(make_run(tmp_path / "unigram", network, unigram), config)
    with pytest.raises(ConfigError, match="expected one of none, float16, int8; received 'int4'"):
        dataclasses.replace(config, quantize="int4")
    with pytest.raises(ConfigError, match="llama.cpp's name of what --quantize int8 writes"):
        dataclasses.replace(config, quantize="q8_0")
    stops = pieces().with_special(SpecialTokens(stop_ids=(400, 401, 402)))
    with pytest.raises(ExportError, match="room for 3 tokens that end a completion; .* has 4"):
        export_run(run_of(tmp_path / "stops", tokenizer=stops), config)


def test_a_missing_package_is_one_line(tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(
        ExportError, match=r"--format gguf needs gguf: pip install 'tfscale\[train\]'"
    ):
        exported(tmp_path)
    assert cli.main(["export", str(tmp_path), "--output", "x", "--format", "gguf"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_name_of_a_tokenizers_words(name):
    tokenizer = TOKENIZERS[name]()
    entries = vocabulary_entries(tokenizer)
    assert entries["pre"] == name.split(",")[0]
    assert len(entries["tokens"]) == len(entries["token_type"]) == tokenizer.vocabulary_size
    assert entries["token_type"][tokenizer.end_id] == 3


@pytest.mark.parametrize(
    "make,message",
    [(theirs.bert, "no tokenizer of kind"), (theirs.t5, "no tokenizer of kind huggingface")],
)
def test_files_that_llama_cpp_would_read_otherwise_are_refused(make, message):
    with pytest.raises(ExportError, match=message):
        taken(make).gguf_vocabulary()


def test_words_that_llama_cpp_does_not_know():
    content = json.loads(TOKENIZERS["gpt-2"]().model)
    assert word_cutter(content) == "gpt-2"
    # Composed characters have the same tokens without.
    assert word_cutter(content | {"normalizer": {"type": "NFC"}}) == "gpt-2"
    for changed, message in [
        ({"normalizer": {"type": "NFKC"}}, "has a normalizer, which llama.cpp does not apply"),
        ({"model": content["model"] | {"ignore_merges": True}}, "cuts words by 'gpt-2', for which"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "an arrangement of its own"),
        ({"pre_tokenizer": None}, "an arrangement of its own"),
    ]:
        with pytest.raises(ExportError, match=message):
            word_cutter(content | changed)


def test_every_architecture_has_a_model_here():
    kinds = {architecture_of(network_of(name).config).name for name in MODELS}
    assert kinds == {kind.name for kind in ARCHITECTURES}
    names = [tensor.name for tensor in named_tensors(network_of("llama"), ARCHITECTURES[1])]
    assert len(names) == len(set(names)) == 3 + 2 * 9
