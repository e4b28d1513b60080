"""Every family passes the gate of the export: prompts, single tokens and completions as in Keras, in each recipe."""

import dataclasses
import functools

import numpy as np
import pytest

from tests.exporting.exported import PREFILL_LENGTHS, TEXT, check_parity, write_folder
from tests.gpt2 import gpt2
from tests.slow import slow_but
from tfscale.config import GRUConfig, NNLMConfig, RNNConfig, TransformerConfig
from tfscale.exporting.converter import silence
from tfscale.exporting.rounding import round_weights
from tfscale.exporting.tflite import export_tflite
from tfscale.models import build_network
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

LLAMA = {"positions": "rope", "normalization": "rms", "activation": "swiglu", "num_kv_heads": 2}
FAMILIES = {
    "llama": gpt2(
        vocabulary_size=257,
        sequence_length=24,
        hidden_dim=64,
        num_layers=2,
        num_heads=4,
        feed_forward_dim=96,
        **LLAMA,
    ),
    "default": TransformerConfig(
        vocabulary_size=257, sequence_length=24, hidden_dim=64, num_layers=2, num_heads=4
    ),
    "llama_window": gpt2(
        vocabulary_size=257,
        sequence_length=24,
        hidden_dim=64,
        num_layers=2,
        num_heads=4,
        feed_forward_dim=96,
        attention_window=8,
        global_tokens=2,
        **LLAMA,
    ),
    "modern": gpt2(
        vocabulary_size=257,
        sequence_length=24,
        hidden_dim=64,
        num_layers=2,
        num_heads=4,
        feed_forward_dim=96,
        query_key_norm=True,
        embedding_skip=True,
        tie_embeddings=False,
        **(LLAMA | {"activation": "relu_squared"}),
    ),
    "gemma_caps": gpt2(
        vocabulary_size=257,
        sequence_length=24,
        hidden_dim=64,
        num_layers=2,
        num_heads=4,
        feed_forward_dim=96,
        query_key_norm=True,
        attention_soft_cap=5.0,
        logit_soft_cap=10.0,
        **(LLAMA | {"activation": "geglu"}),
    ),
    "gemma_3": gpt2(
        vocabulary_size=257,
        sequence_length=24,
        hidden_dim=64,
        num_layers=4,
        num_heads=4,
        feed_forward_dim=96,
        query_key_norm=True,
        query_scale_dim=20,
        query_key_value_bias=True,
        sandwich_norm=True,
        attention_window=8,
        global_every=2,
        local_rope_base=50.0,
        rope_fraction=0.75,
        rope_scaling="llama3",
        rope_factor=8.0,
        rope_original_length=16,
        no_rope_every=3,
        **(LLAMA | {"activation": "geglu"}),
    ),
    "gru": GRUConfig(
        vocabulary_size=257, sequence_length=16, embedding_dim=32, hidden_dim=64, num_layers=2
    ),
    "rnn": RNNConfig(
        vocabulary_size=257,
        sequence_length=16,
        embedding_dim=32,
        hidden_dim=64,
        tie_embeddings=True,
    ),
    "nnlm": NNLMConfig(
        vocabulary_size=257,
        sequence_length=16,
        context_tokens=4,
        embedding_dim=32,
        hidden_dim=64,
        direct_connections=True,
    ),
}


@functools.cache
def network_and_file(family):
    network = build_network(FAMILIES[family])
    rng = np.random.default_rng(0)
    for weight in network.weights:
        scale = 0.15 if len(weight.shape) > 1 else 0.1
        weight.assign(
            rng.normal(0, scale, weight.shape) + (1.0 if weight.name in ("gamma", "scale") else 0.0)
        )
    return network, export_tflite(network, "none", PREFILL_LENGTHS)


# A family beside the first has its own conversion; the recipes round what was converted.
CASES = slow_but(
    [(family, quantize) for family in FAMILIES for quantize in ("none", "int8", "int4")],
    *(
        (family, "none")
        for family in FAMILIES
        if family not in ("default", "llama", "llama_window", "gemma_caps", "modern")
    ),
    ("llama", "int4"),
    ("gru", "int8"),
)


@pytest.mark.parametrize("family, quantize", CASES)
def test_the_file_computes_what_the_network_computes(family, quantize, tmp_path):
    (network, content), tokenizer = network_and_file(family), ByteTokenizer()
    if quantize != "none":
        # As `convert` does it, but for the conversion, which is the same one.
        with silence():
            content = round_weights(content, quantize)
    folder = write_folder(tmp_path / "export", content, network, tokenizer, quantize)
    report = check_parity(network, tokenizer, folder, tokenizer.encode(TEXT), quantize=quantize)
    # What rounding to 4 bits costs is a matter of training; that the file is the rounded network is not.
    by_training = "perplexity_change" if quantize == "int4" else "nothing"
    assert [
        row for row in report["checks"] if not row["passed"] and by_training not in row["name"]
    ] == []
    # The checks compared something: completions are texts, and no perplexity is that of a uniform draw.
    assert report["greedy"]["file"] and abs(report["perplexity"]["keras"] / 257 - 1) > 0.01


@pytest.mark.slow
def test_a_table_under_a_soft_cap_is_stored_once():
    """The converter would divide the output's copy by the cap."""
    sizes = []
    for cap in (0.0, 10.0):
        config = dataclasses.replace(FAMILIES["llama"], num_layers=1, logit_soft_cap=cap)
        sizes.append(len(export_tflite(build_network(config), "int8", PREFILL_LENGTHS[:1])))
    table = FAMILIES["llama"].vocabulary_size * FAMILIES["llama"].hidden_dim
    assert sizes[0] < sizes[1] < sizes[0] + table / 4
