"""Presets of keras-hub: its users load them, and tfscale imports them again. Weights are random."""

import functools
import io
import json
import re

import keras_hub.models as hub
import numpy as np
import pytest
import sentencepiece
import tokenizers

import tfscale
from benchmarks.hub_copies import GEMMA3, GROUPS, SIZES, SMOLLM3, logits_of
from tests.exporting.exported import make_run
from tests.exporting.gguf_models import (
    MODELS,
    TOKENIZERS,
    byte_pairs,
    json_file,
    json_of_pieces,
    network_of,
    pieces,
    qwen_file,
    texts,
)
from tfscale.config import ExportConfig
from tfscale.errors import ConfigError, ExportError
from tfscale.exporting.export import export_run
from tfscale.exporting.keras_preset import hub_tokenizer
from tfscale.registry import HUB_WRITERS
from tfscale.text.tokenizers.special import SpecialTokens

# keras-hub leaves the file of a SentencePiece model open (0.32).
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIZE = 400


@functools.cache
def proto(start, end):
    """A SentencePiece model as Llama's and Gemma's: BPE, a start token, no normalization."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("\n".join(texts()).splitlines()),
        model_writer=model,
        vocab_size=SIZE,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=start == "<s>",
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        bos_piece=start,
        eos_piece=end,
        minloglevel=2,
    )
    return model.getvalue()


@functools.cache
def merges(*special):
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=SIZE,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(special),
        show_progress=False,
    )
    trained.train_from_iterator(texts(), trainer)
    model = json.loads(trained.to_str())["model"]
    return {
        "vocabulary": model["vocab"],
        "merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]],
    }


BEGIN, STOP = "<|begin_of_text|>", "<|end_of_text|>"
LLAMA_3 = (BEGIN, STOP, "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
VOCABULARY = {"vocabulary_size": SIZE}
WINDOW = {
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
    "use_sliding_window_attention": True,
    "sliding_window_size": 5,
}
CASES = {
    "gpt2": (
        "GPT2",
        SIZES | VOCABULARY | {"num_heads": 2, "intermediate_dim": 64, "max_sequence_length": 40},
        lambda: merges("<|endoftext|>"),
    ),
    "llama": ("Llama", GROUPS | VOCABULARY, lambda: {"proto": proto("<s>", "</s>")}),
    "llama3_tied": (
        "Llama3",
        GROUPS | VOCABULARY | {"tie_word_embeddings": True, "rope_max_wavelength": 500_000},
        lambda: merges(*LLAMA_3),
    ),
    "qwen2": ("Qwen", GROUPS | VOCABULARY, lambda: merges("<|endoftext|>")),
    "qwen3": (
        "Qwen3",
        GROUPS | VOCABULARY | {"head_dim": 6, "layer_norm_epsilon": 1e-5},
        lambda: merges("<|im_end|>", "<|endoftext|>"),
    ),
    "gemma": (
        "Gemma",
        GROUPS | VOCABULARY | {"head_dim": 6, "num_key_value_heads": 1},
        lambda: {"proto": proto("<bos>", "<eos>")},
    ),
    "gemma2": (
        "Gemma",
        GROUPS
        | VOCABULARY
        | WINDOW
        | {"head_dim": 6, "attention_logit_soft_cap": 5.0, "final_logit_soft_cap": 3.0},
        lambda: {"proto": proto("<bos>", "<eos>")},
    ),
    "gemma3": ("Gemma3", GEMMA3 | VOCABULARY, lambda: {"proto": proto("<bos>", "<eos>")}),
    "smollm3": (
        "SmolLM3",
        SMOLLM3 | VOCABULARY,
        lambda: merges(STOP, BEGIN, "<think>", "</think>"),
    ),
}
"""Name -> what classes of keras-hub begin with, options of the backbone, arguments of the tokenizer."""


def imported(name, folder, without_bytes=False):
    """A run of a model of keras-hub with weights that have clear winners.

    Of bytes at random no text can be made: `without_bytes` gives them a logit of 0.
    """
    prefix, options, assets = CASES[name]
    backbone = getattr(hub, f"{prefix}Backbone")(**options)
    generator = np.random.default_rng(3)
    for weight in backbone.trainable_weights:
        weight.assign(generator.normal(0, 0.3, weight.shape))
    if without_bytes:
        table = np.array(backbone.token_embedding.embeddings)
        table[:260] = 0
        backbone.token_embedding.embeddings.assign(table)
    plain = {"has_vision_tokens": False} if name == "gemma3" else {}
    tokenizer = getattr(hub, f"{prefix}Tokenizer")(**assets(), **plain)
    tfscale.import_(backbone, str(folder), sequence_length=32, tokenizer=tokenizer)
    return backbone, tfscale.open(str(folder))


FEW = ("llama3_tied",)
"""What `make test` runs, beside Gemma 2 below: tables that are tied, which keras-hub's configs do not
say."""


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_there_and_back(name, tmp_path):
    backbone, run = imported(name, tmp_path / "run")
    folder = str(tmp_path / "preset")
    report = tfscale.export(str(tmp_path / "run"), output=folder, format="keras_preset")
    found = {row["name"]: row["value"] for row in report["checks"]}
    assert found["greedy_tokens_equal (generate)"] == 16 and report["passed"]
    # As a user of keras-hub loads it.
    model = hub.CausalLM.from_preset(folder)
    ids = np.random.default_rng(4).integers(0, SIZE, (1, 24)).astype(np.int32)
    expected = logits_of(backbone, ids)
    theirs = logits_of(model.backbone, ids)
    np.testing.assert_allclose(theirs, expected, atol=1e-4 * expected.std())
    # And back: the same weights bit for bit, the same tokenizer.
    tfscale.import_(folder, str(tmp_path / "again"), sequence_length=32)
    again = tfscale.open(str(tmp_path / "again"))
    assert again.tokenizer.digest == run.tokenizer.digest
    assert again.network.config == run.network.config
    for own, other in zip(again.network.weights, run.network.weights, strict=True):
        np.testing.assert_array_equal(own, other)


def test_the_text_that_its_users_get(tmp_path, monkeypatch):
    _, run = imported("gemma2", tmp_path / "run", without_bytes=True)
    folder = str(tmp_path / "preset")
    tfscale.export(str(tmp_path / "run"), output=folder, format="keras_preset")
    model = hub.CausalLM.from_preset(folder)
    model.compile(sampler="greedy")
    prompt = "def f(x):"
    whole = model.generate(prompt, max_length=24)
    count = 24 - len(run.tokenizer.prompt_ids(run.tokenizer.encode(prompt)))
    ours = run.generate(prompt, max_tokens=count).text
    assert whole == prompt + ours
    readme = (tmp_path / "preset" / "README.md").read_text()
    monkeypatch.chdir(folder)
    exec(re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1], {})


def test_what_keras_hub_cannot_take_is_refused(tmp_path):
    options = ExportConfig(output=str(tmp_path / "export"), format="keras_preset")
    for name, tokenizer, message in [
        ("phi3", byte_pairs(), "keras-hub has no Phi 3 and 4"),
        (
            "qwen2",
            pieces(),
            "Qwen 2 and 2.5 has a tokenizer of kind bpe; this one is sentencepiece",
        ),
        ("qwen3", byte_pairs(), "keras-hub has no Qwen 3 with these options"),
        ("gemma", pieces(), "keras-hub's GemmaTokenizer does not take it: "),
    ]:
        run = make_run(tmp_path / name, network_of(name), tokenizer)
        with pytest.raises((ExportError, ConfigError), match=message):
            export_run(run, options)
    assert not (tmp_path / "export").exists()
    assert set(MODELS) >= {"phi3", "gemma"}


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_a_tokenizer_file_of_byte_pairs_as_it_is(tmp_path):
    """Tokens that are found in any text are found by keras-hub too."""
    tokenizer = qwen_file().with_special(SpecialTokens(in_prompts=False))
    run = make_run(tmp_path / "run", network_of("qwen2", tokenizer.vocabulary_size), tokenizer)
    options = ExportConfig(
        output=str(tmp_path / "preset"), format="keras_preset", parity_tokens=300
    )
    held_out = tokenizer.encode("def f(x): return <think>12</think> " * 20)
    report = export_run(run, options, held_out)
    assert {row["name"]: row["value"] for row in report["checks"]}["tokenizer_ids_equal"] == 1
    theirs = hub.Tokenizer.from_preset(options.output)
    for text in ("a <think>b</think>c", "def f(x): return 12", "naïve café 你好", "<|user|>"):
        ids = np.asarray(theirs(text)).tolist()
        assert ids == tokenizer.encode(text), text
    for name, taken, message in [
        ("llama", json_file(json_of_pieces()), "none of byte-level BPE, or normalizes"),
        ("llama", qwen_file(), "Llama3Tokenizer does not take it: .*; --format huggingface"),
        ("qwen2", TOKENIZERS["gpt-2, a file as it is"](), "would have another .*tokens of a text"),
    ]:
        with pytest.raises(ExportError, match=message):
            hub_tokenizer(HUB_WRITERS.get(name)(), taken)
