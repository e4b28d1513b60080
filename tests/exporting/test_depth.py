"""The comparison of deep networks that know a small text by heart.

Such a network is sure of each token, so that rounding costs it little: a perplexity of 1.1 stays
within 0.6 % in int4_all. The deeper it is, the less does one layer matter: of 30, one without its
feed-forward product changes the logits by less than rounding does. The float32 copy of a file shows
it.
"""

import dataclasses
import functools

import keras
import numpy as np
import pytest

from tests.exporting.exported import PREFILL_LENGTHS, check_parity, write_folder
from tests.exporting.gguf_models import GEMMA, LLAMA, texts
from tfscale.config import TransformerConfig
from tfscale.exporting.tflite import export_tflite
from tfscale.models import build_network
from tfscale.text.tokenizers import train_tokenizer
from tfscale.training.language_model import LanguageModel

pytestmark = pytest.mark.slow
T, CHARACTERS, BATCH = 64, 1000, 16
SIZE = {"vocabulary_size": 257, "sequence_length": T}
GEMMA_3 = GEMMA | {
    "num_layers": 18,
    "num_kv_heads": 1,
    "sandwich_norm": True,
    "query_key_norm": True,
    "attention_window": 16,
    "global_every": 6,
    "rope_base": 1e6,
    "local_rope_base": 1e4,
}
NETWORKS = {
    4: (TransformerConfig(hidden_dim=96, num_layers=4, num_heads=4, **SIZE), 300, 3e-3),
    18: (TransformerConfig(**(GEMMA_3 | SIZE)), 500, 3e-3),
    30: (TransformerConfig(**(LLAMA | SIZE | {"num_layers": 30})), 500, 2e-3),
}
"""Layers -> architecture, steps and learning rate by which it learns the text."""


@functools.cache
def text():
    tokenizer = train_tokenizer("byte", [], 257)
    return tokenizer, tokenizer.encode(texts()[1][:CHARACTERS])


@functools.cache
def sharp(layers):
    """A network that knows the text by heart."""
    config, steps, rate = NETWORKS[layers]
    tokenizer, ids = text()
    stream = np.array([tokenizer.end_id, *ids], np.int32)
    starts = np.random.default_rng(0).integers(0, len(stream) - T, steps * BATCH)
    rows = np.stack([stream[start : start + T + 1] for start in starts])
    model = LanguageModel(build_network(config, seed=0))
    cosine = keras.optimizers.schedules.CosineDecay(
        rate / 100, steps - 20, warmup_target=rate, warmup_steps=20
    )
    model.compile(keras.optimizers.AdamW(cosine), clip_norm=1.0, xla=False)
    model.fit(rows[:, :-1], rows[:, 1:], batch_size=BATCH, shuffle=False, verbose=0)
    return model.network


def compared(network, tmp_path, quantize, damaged=None):
    """The report of the file of a damaged network beside the network."""
    tokenizer, ids = text()
    content = export_tflite(damaged or network, quantize, PREFILL_LENGTHS)
    path = write_folder(tmp_path, content, network, tokenizer, quantize)
    return check_parity(network, tokenizer, path, ids[:512], quantize=quantize)


@pytest.mark.parametrize("quantize", ["none", "float16", "int8", "int4", "int4_all"])
@pytest.mark.parametrize("layers", NETWORKS)
def test_right_files_pass(layers, quantize, tmp_path):
    report = compared(sharp(layers), tmp_path, quantize)
    assert [row["name"] for row in report["checks"] if not row["passed"]] == []
    assert report["perplexity"]["keras"] < 2
    print(layers, quantize, report["perplexity"])


def copy_of(network, **changes):
    other = build_network(dataclasses.replace(network.config, **changes))
    other.set_weights(network.get_weights())
    return other


def without_some_products(network):
    other = copy_of(network)
    for block in other.blocks[1::4]:
        block.contract.kernel.assign(block.contract.kernel * 0)
    return other


def without_one_product(network):
    other = copy_of(network)
    kernel = other.blocks[len(other.blocks) // 2].contract.kernel
    kernel.assign(kernel * 0)
    return other


def with_two_rows_swapped(network):
    other = copy_of(network)
    kernel = other.blocks[-1].expand.kernel
    kernel.assign(kernel.numpy()[[1, 0, *range(2, kernel.shape[0])]])
    return other


def with_neighbours_swapped(network):
    other = copy_of(network)
    middle = len(other.blocks) // 2
    for place in (0, 1):
        other.blocks[middle + place].set_weights(network.blocks[middle + 1 - place].get_weights())
    return other


def in_reverse(network):
    other = copy_of(network)
    for block, own in zip(other.blocks, network.blocks[::-1], strict=True):
        block.set_weights(own.get_weights())
    return other


def turned_otherwise(network):
    local = {"local_rope_base": 10.0} if network.config.local_rope_base else {}
    return copy_of(network, rope_base=10.0, **local)


DAMAGES = {
    "every fourth product is missing": without_some_products,
    "one product is missing": without_one_product,
    "two rows of a matrix are swapped": with_two_rows_swapped,
    "two neighbours are swapped": with_neighbours_swapped,
    "layers come in reverse order": in_reverse,
    "rotary positions have another base": turned_otherwise,
    "norms have another epsilon": lambda network: copy_of(network, norm_epsilon=0.1),
}


@pytest.mark.parametrize("quantize", ["int8", "int4_all"])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("layers", NETWORKS)
def test_damaged_files_do_not(layers, damage, quantize, tmp_path):
    network = sharp(layers)
    report = compared(network, tmp_path, quantize, DAMAGES[damage](network))
    failed = {row["name"]: row["value"] for row in report["checks"] if not row["passed"]}
    print(layers, damage, quantize, report["perplexity"], failed)
    assert failed
