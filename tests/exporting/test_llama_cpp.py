"""GGUF files in llama.cpp itself: the same logits, the same greedy text, the same tokens.

`make test-llamacpp` fetches the library. Weights are random, in the shapes' true form.
"""

import os
import unicodedata

import numpy as np
import pytest

from benchmarks.llama_cpp import LlamaCpp
from tests.exporting.gguf_models import MODELS, TOKENIZERS, byte_pairs, network_of
from tests.text.hostile import HOSTILE
from tfscale.exporting.llama_cpp import computing
from tfscale.exporting.llama_cpp.architectures import architecture_of
from tfscale.exporting.llama_cpp.comparing import gguf_limits
from tfscale.exporting.llama_cpp.computing import GGUFNetwork
from tfscale.exporting.llama_cpp.vocabulary import vocabulary_entries
from tfscale.exporting.llama_cpp.writing import write_gguf
from tfscale.inference.keras_decoder import KerasDecoder

pytestmark = pytest.mark.llamacpp
FOLDER = os.environ.get("TFSCALE_LLAMA_CPP", "")
IDS = np.random.default_rng(4).integers(0, 500, 40).tolist()


def written(name, quantize, folder, tokenizer=None):
    tokenizer = tokenizer or byte_pairs()
    network = network_of(name, tokenizer.vocabulary_size)
    path = str(folder / "model.gguf")
    kind = architecture_of(network.config)
    write_gguf(network, kind, vocabulary_entries(tokenizer), quantize, path)
    return network, path


def error(logits, expected):
    """The largest difference, as a part of the logits' spread."""
    return float(np.abs(logits - expected).max() / expected.std())


def relative(logits, expected):
    """Root mean square of the differences, as a part of the logits' spread."""
    return float(np.sqrt(np.square(logits - expected).mean()) / expected.std())


def greedy(network, prompt, count):
    decoder = KerasDecoder(network, prefill_lengths=[])
    tokens = [int(decoder.feed(prompt).argmax())]
    while len(tokens) < count:
        tokens.append(int(decoder.feed(tokens[-1:]).argmax()))
    return tokens


@pytest.mark.parametrize("name", MODELS)
def test_float32_has_the_logits_and_the_greedy_text_of_the_network(name, tmp_path, monkeypatch):
    network, path = written(name, "none", tmp_path)
    expected = np.asarray(network(np.array([IDS])))[0]
    with LlamaCpp(path, FOLDER) as model:
        found = model.logits(IDS)
        # Token by token, by its cache.
        model.reset()
        stepped = np.concatenate([model.feed([id]) for id in IDS])
        assert model.greedy(IDS[:8], 24) == greedy(network, IDS[:8], 24)
    print(f"| {name} | {error(found, expected):.1e} | {error(stepped, found):.1e} |")
    gelu = network.config.activation in ("geglu", "gelu_tanh")
    assert error(stepped, found) < (5e-3 if gelu else 1e-4)
    if not gelu:
        assert error(found, expected) < 1e-4
        return
    # llama.cpp looks GELU up in a table of float16. With that table its logits are these:
    assert error(found, expected) < 1e-2
    exact = computing._gelu
    monkeypatch.setattr(
        computing,
        "_gelu",
        lambda x: np.where(
            x <= -10,
            0,
            np.where(x >= 10, x, exact(x.astype(np.float16).astype(np.float32)).astype(np.float16)),
        ).astype(np.float32),
    )
    assert error(found, GGUFNetwork(path).logits(IDS)) < 1e-3


@pytest.mark.parametrize("quantize", ["float16", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_rounded_weights_have_nearly_its_logits(name, quantize, tmp_path):
    network, path = written(name, quantize, tmp_path)
    expected = np.asarray(network(np.array([IDS])))[0]
    with LlamaCpp(path, FOLDER) as model:
        found = model.logits(IDS)
    own = GGUFNetwork(path).logits(IDS)
    measured = relative(found, expected), relative(found, own), relative(own, expected)
    print(f"| {name} | {quantize} | {' | '.join(f'{value:.1e}' for value in measured)} |")
    # Weights and activations are rounded alike, each with the error of the gate's limit: products
    # of Q8_0 are computed in int8, those of F16 in float16.
    limit = gguf_limits(network, quantize).relative_logit_error
    assert measured[2] < limit and measured[0] < limit * 2**0.5


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_text_has_the_same_tokens(name, tmp_path):
    tokenizer = TOKENIZERS[name]()
    _, path = written("llama", "none", tmp_path, tokenizer)
    with LlamaCpp(path, FOLDER) as model:
        for text in [*HOSTILE, "a<table> b\n\n\n\nc<think>d</think>", "x     y\n  z"]:
            if name.startswith("qwen2, a file") and unicodedata.normalize("NFC", text) != text:
                continue  # Qwen's composes characters, which llama.cpp reads as they are.
            assert model.encode(text) == tokenizer.encode(text), text
            if name.startswith(("default", "qwen2")):
                # With others `llama_detokenize` takes spaces before punctuation away.
                assert model.decode(tokenizer.encode(text)).decode() == text
            assert model.encode(text, start=True) == tokenizer.prompt_ids(tokenizer.encode(text))
        assert all(model.stops_at(id) for id in tokenizer.stop_ids)
