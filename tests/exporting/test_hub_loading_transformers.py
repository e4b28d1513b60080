"""Folders that transformers wrote, with options that published models have and those that they lack."""

import json

import numpy as np
import pytest

import tfscale
from tests.text import theirs as written
from tests.text.hostile import HOSTILE
from tfscale.models.hub_loading import from_hub_folder

pytestmark = [pytest.mark.huggingface, pytest.mark.filterwarnings("ignore")]

SIZES = {
    "vocab_size": 67,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
FULL, SLIDING = "full_attention", "sliding_attention"
GEMMA_2 = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 5}
WINDOW = {"use_sliding_window": True, "sliding_window": 5}
LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 10000.0,
}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}
GPT_2 = {"vocab_size": 67, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}


def bases(full, sliding):
    return {"rope_parameters": {FULL: full, SLIDING: sliding}}


PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
FAR = {"rope_type": "default", "rope_theta": 1e6}
CASES = [
    ("llama", {"head_dim": 12, "num_key_value_heads": 1, "rms_norm_eps": 1e-3}),
    ("llama", {"attention_bias": True, "rope_parameters": LINEAR}),
    ("llama", {"mlp_bias": True, "tie_word_embeddings": True}),
    ("mistral", {"sliding_window": 5, "head_dim": 6}),
    ("mistral", {"sliding_window": None, "tie_word_embeddings": True, "rope_parameters": LLAMA_3}),
    ("qwen2", {**WINDOW, "max_window_layers": 0, "head_dim": 12}),
    ("qwen2", {**WINDOW, "layer_types": [SLIDING, FULL, SLIDING]}),
    ("qwen2", {"use_sliding_window": False, "sliding_window": 5, "max_window_layers": 0}),
    ("qwen3", {"head_dim": 12, **WINDOW, "layer_types": [SLIDING, FULL, SLIDING]}),
    ("gemma", {"head_dim": 12, "tie_word_embeddings": False, "rope_parameters": LINEAR}),
    ("gemma2", {**GEMMA_2, "query_pre_attn_scalar": 16, "final_logit_softcapping": None}),
    ("gemma2", {**GEMMA_2, "layer_types": [SLIDING] * 3, "attn_logit_softcapping": 1.0}),
    ("gemma2", {**GEMMA_2, "layer_types": [FULL] * 3, "tie_word_embeddings": False}),
    ("gemma3_text", {**GEMMA_2, "layer_types": [SLIDING, FULL, SLIDING]}),
    ("gemma3_text", {**GEMMA_2, "num_hidden_layers": 7, **bases({**LLAMA_3}, {**PLAIN})}),
    ("gemma3_text", {**GEMMA_2, "layer_types": [SLIDING, FULL] + [SLIDING], **bases(PLAIN, FAR)}),
    ("gemma3_text", {**GEMMA_2, "layer_types": [FULL] * 3, "final_logit_softcapping": 2.0}),
    ("phi3", {"sliding_window": 5, "head_dim": 12, "rms_norm_eps": 1e-3}),
    ("phi3", {"rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5}}),
    ("smollm3", {"no_rope_layer_interval": 2, "rope_parameters": LLAMA_3, "head_dim": 12}),
    ("smollm3", {**WINDOW, "layer_types": [SLIDING] * 3, "tie_word_embeddings": False}),
    ("gpt2", {"n_inner": 40, "activation_function": "gelu", "layer_norm_epsilon": 0.1}),
    ("gpt2", {"tie_word_embeddings": False}),
]


def random_model(kind, changes, folder):
    """Writes a folder with random weights of all kinds; returns the model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = GPT_2 if kind == "gpt2" else SIZES
    # Some entries are changed in place.
    config = AutoConfig.for_model(kind, **json.loads(json.dumps({**sizes, **changes})))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
            if "norm" in name and "bias" not in name:
                weight.add_(1.0)
    model.save_pretrained(folder)
    return model


def as_earlier_versions_wrote(path):
    """Changes config.json to the form of rotary positions that transformers had before version 5."""
    config = json.loads(path.read_text())
    parameters = config.pop("rope_parameters", None)
    if parameters and FULL in parameters:
        config["rope_local_base_freq"] = parameters[SLIDING]["rope_theta"]
        parameters = parameters[FULL]
    if parameters:
        config["rope_theta"] = parameters.pop("rope_theta")
        if "partial_rotary_factor" in parameters:
            config["partial_rotary_factor"] = parameters.pop("partial_rotary_factor")
        plain = parameters["rope_type"] == "default"
        config["rope_scaling"] = None if plain else parameters
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("kind,changes", CASES)
def test_logits_are_those_of_transformers(kind, changes, tmp_path):
    import torch

    model = random_model(kind, changes, tmp_path)
    ids = np.random.default_rng(3).integers(0, 67, (2, 40))
    with torch.no_grad():
        expected = model(torch.tensor(ids)).logits.numpy()
    for _ in range(2):
        network = from_hub_folder(str(tmp_path), sequence_length=64)
        found = np.asarray(network(ids.astype(np.int32)))
        assert np.abs(found - expected).max() <= 1e-4 * np.std(expected)
        as_earlier_versions_wrote(tmp_path / "config.json")


def test_the_text_of_a_gemma_3_that_sees_pictures(tmp_path):
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {**SIZES, **GEMMA_2, "num_hidden_layers": 7}
    pictures = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision = {**pictures, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.3)
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    described = json.loads(path.read_text())
    # Published files name what differs from the defaults alone.
    for name in ("model_type", "layer_types", "rms_norm_eps", "rope_parameters", "attention_bias"):
        del described["text_config"][name]
    path.write_text(json.dumps(described))
    ids = np.random.default_rng(3).integers(0, 60, (2, 40))
    with torch.no_grad():
        expected = model(torch.tensor(ids)).logits.numpy()
    found = np.asarray(from_hub_folder(str(tmp_path), sequence_length=64)(ids.astype(np.int32)))
    assert np.abs(found - expected).max() <= 1e-4 * np.std(expected)


def smollm2(documents):
    """Digits stand alone, which keras-hub's Llama does not know."""
    steps = [
        written.pre_tokenizers.Digits(individual_digits=True),
        written.pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    sequence = written.pre_tokenizers.Sequence(steps)
    return written._json(written._byte_level(documents, sequence, special=special))


@pytest.mark.parametrize(
    "kind,make,start,stops",
    [
        ("llama", smollm2, "<|im_start|>", ["<|im_end|>", "<|endoftext|>"]),
        ("llama", written.llama3, "<|begin_of_text|>", ["<|end_of_text|>", "<|eot_id|>"]),
        ("qwen3", written.qwen, None, ["<|im_end|>", "<|endoftext|>"]),
        ("phi3", written.mistral, "<s>", ["</s>"]),
    ],
)
def test_ids_stops_and_greedy_text_are_those_of_transformers(kind, make, start, stops, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    content = make(["the cats of house 7 saw 123 birds and slept naïve café 你好 🙂\n" * 20])
    library = written.library.Tokenizer.from_str(content.decode())
    size, folder = library.get_vocab_size(), tmp_path / "theirs"
    random_model(kind, {"vocab_size": size + 5}, folder)
    (folder / "tokenizer.json").write_bytes(content)
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": stops[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, "bos_token": start}))
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    ids = [library.token_to_id(text) for text in stops]
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": ids}))
    summary = tfscale.import_(str(folder), str(tmp_path / "run"), sequence_length=64)
    assert summary["stop_tokens"] == stops
    ours, theirs = tfscale.open(str(tmp_path / "run")), AutoTokenizer.from_pretrained(str(folder))
    plain = {"add_special_tokens": False, "split_special_tokens": True}
    for text in HOSTILE:
        assert theirs(text, **plain)["input_ids"] == ours.tokenizer.encode(text), text
    prompt = theirs("the cats 123")["input_ids"]
    assert ours.tokenizer.prompt_ids(ours.tokenizer.encode("the cats 123")) == prompt
    model = AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager").eval()
    # Rows beyond the tokenizer's are dropped.
    beyond = list(range(size, size + 5))
    chosen = model.generate(
        torch.tensor([prompt]), max_new_tokens=24, pad_token_id=0, suppress_tokens=beyond
    )[0, len(prompt) :].tolist()
    found = tfscale.generate(str(tmp_path / "run"), prompt="the cats 123", max_tokens=24)
    assert found.tokens == [id for id in chosen if id not in ids]
