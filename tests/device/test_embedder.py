"""Vectors by a file: one session with the decoder, caches in place, and signatures that do not fit."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils

from tests.exporting.exported import make_network, write_folder
from tfscale.config import SamplingConfig
from tfscale.device import embedder, load
from tfscale.device.embedder import Embedder
from tfscale.errors import ExportError
from tfscale.exporting import embedding
from tfscale.exporting.embedding import embed_signature
from tfscale.exporting.tflite import export_tflite
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

CONTEXT, WIDTH = 16, 32
TEXTS = ["ab", "a longer text than the context holds", "c"]


def written(folder, family):
    network = make_network(family)
    content = export_tflite(network, "none", [4], embed_signature)
    return write_folder(folder, content, network, ByteTokenizer())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export of a Transformer with the signature; its description does not name it."""
    path = written(tmp_path_factory.mktemp("embedder"), "transformer")
    (Path(path) / "model.json").unlink()
    return path


def damaged(folder, target, change):
    """A file at `target` whose signature `embed` or its graph was changed."""
    content = bytearray(Path(folder, "model.tflite").read_bytes())
    model = flatbuffer_utils.read_model_from_bytearray(content)
    signature = next(one for one in model.signatureDefs if one.signatureKey == b"embed")
    change(signature, model.subgraphs[signature.subgraphIndex])
    target.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return str(target)


def entry(entries, name):
    return next(one for one in entries if one.name == name)


def without_positions(signature, graph):
    positions = entry(signature.inputs, b"input_pos")
    signature.inputs.remove(positions)
    graph.inputs = [index for index in graph.inputs if index != positions.tensorIndex]


def one_token_fewer(signature, graph):
    graph.tensors[entry(signature.inputs, b"input_pos").tensorIndex].shape = [CONTEXT - 1]


def flat_hidden(signature, graph):
    graph.tensors[entry(signature.outputs, b"hidden").tensorIndex].shape = [CONTEXT, WIDTH]


def narrow_hidden(signature, graph):
    graph.tensors[entry(signature.outputs, b"hidden").tensorIndex].shape = [1, CONTEXT, 7]


def swapped_outputs(signature, _):
    cache, hidden = (entry(signature.outputs, name) for name in (b"kv_cache_k_0", b"hidden"))
    cache.tensorIndex, hidden.tensorIndex = hidden.tensorIndex, cache.tensorIndex


def cache_without_numbers(signature, graph):
    for side in (signature.inputs, signature.outputs):
        tensor = graph.tensors[entry(side, b"kv_cache_k_0").tensorIndex]
        tensor.shape = [*tensor.shape[:-1], 0]


@pytest.mark.parametrize("xnnpack", [True, False])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_positions, "expected tokens, caches, and for a Transformer input_pos and mask"),
        (
            one_token_fewer,
            "input input_pos of `embed` has shape (15,) of int32, expected (16,) of int32",
        ),
        (
            flat_hidden,
            "output hidden of `embed` has shape (16, 32) of float32, expected (1, 16, D) of float32",
        ),
        (narrow_hidden, "shape"),
        (swapped_outputs, "output hidden of `embed` has shape (1, 16, 2, 16) of float32"),
        (cache_without_numbers, "cannot be run by LiteRT"),
    ],
)
def test_a_signature_that_does_not_fit_is_refused_in_a_line(
    folder, tmp_path, capfd, xnnpack, change, words
):
    path = damaged(folder, tmp_path / "model.tflite", change)
    with pytest.raises(ExportError, match=re.escape(words)) as raised:
        Embedder.from_path(path, xnnpack=xnnpack).states([1, 2, 3])
    (message,) = str(raised.value).splitlines()
    assert message.startswith(path) and not "".join(capfd.readouterr())


def test_calls_that_would_run_past_the_context_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "embed_length", lambda network: 5)
    path = written(tmp_path, "transformer")
    words = "embed reads 5 tokens a call, which does not divide its context of 16"
    with pytest.raises(ExportError, match=words):
        Embedder.from_path(f"{path}/model.tflite")


def test_a_cache_of_which_rows_are_replaced_is_not_copied(folder, tmp_path):
    in_place = Embedder.from_path(f"{folder}/model.tflite")
    assert in_place._copied == [] and len(in_place._caches) == 4
    assert all(in_place._found[name] is in_place._given[name] for name in in_place._caches)
    # The state of a recurrent network is another after each token.
    recurrent = Embedder.from_path(f"{written(tmp_path, 'lstm')}/model.tflite")
    assert recurrent._copied == recurrent._caches


def test_a_loaded_model_opens_its_file_once(folder, monkeypatch):
    expected = Embedder.from_path(f"{folder}/model.tflite").embed(ByteTokenizer(), TEXTS)

    def refuse(*_):
        raise AssertionError("the weights would be packed a second time")

    monkeypatch.setattr(embedder, "open_session", refuse)
    model = load(folder)
    np.testing.assert_array_equal(model.embed(TEXTS), expected)
    assert model._embedder._lock is model._turns.lock


def test_a_thread_that_writes_and_one_that_embeds_get_the_answers_of_one(folder):
    model = load(folder)

    def write():
        return model.generate("The ", max_tokens=10, sampling=SamplingConfig(temperature=0)).text

    expected = write(), model.embed(TEXTS)
    begin = threading.Barrier(2)

    def repeated(work):
        begin.wait()
        return [work() for _ in range(10)]

    with ThreadPoolExecutor(2) as threads:
        texts = threads.submit(repeated, write)
        vectors = threads.submit(repeated, lambda: model.embed(TEXTS))
        assert texts.result() == [expected[0]] * 10
        for found in vectors.result():
            np.testing.assert_array_equal(found, expected[1])
