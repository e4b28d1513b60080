"""The signature `embed`: its vectors are those of the network, and what has none is refused."""

import json

import numpy as np
import pytest

import tfscale
from tests.exporting.exported import TEXT, make_network, make_run, write_folder
from tests.slow import slow_but
from tfscale import cli
from tfscale.config import ExportConfig, GRUConfig, NNLMConfig, RNNConfig, TransformerConfig
from tfscale.device import load
from tfscale.device.embedder import Embedder
from tfscale.errors import ConfigError, DataError
from tfscale.exporting.embedding import embed_length, embed_signature
from tfscale.exporting.export import export_run
from tfscale.exporting.tflite import export_tflite
from tfscale.inference.embedding import embed_texts
from tfscale.models import build_network
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

SIZE = {"vocabulary_size": 257, "sequence_length": 12, "hidden_dim": 32}
NETWORKS = {
    "transformer": lambda: make_network("transformer"),
    "llama": lambda: build_network(
        TransformerConfig(
            **SIZE,
            num_layers=2,
            num_heads=2,
            num_kv_heads=1,
            positions="rope",
            normalization="rms",
            embedding_rank=16,
        ),
        seed=1,
    ),
    "lstm": lambda: make_network("lstm"),
    "gru": lambda: build_network(GRUConfig(**SIZE), seed=1),
    "rnn": lambda: build_network(RNNConfig(**SIZE), seed=1),
    "nnlm": lambda: build_network(
        NNLMConfig(**SIZE, context_tokens=3, direct_connections=True), seed=1
    ),
}
TEXTS = ["ab", "a longer text than the context holds, by far", "c", "naïve 狐"]


def export(tmp_path, network, **options):
    run = make_run(tmp_path / "run", network, ByteTokenizer())
    folder = str(tmp_path / "export")
    config = ExportConfig(output=folder, prefill_lengths=[4], parity_tokens=24, **options)
    return folder, export_run(run, config, held_out=list(TEXT.encode())[:24])


@pytest.mark.parametrize("family", slow_but(list(NETWORKS), "lstm"))
def test_the_signature_of_each_family(tmp_path, family):
    network = NETWORKS[family]()
    content = export_tflite(network, "none", [4], embed_signature)
    folder = write_folder(tmp_path, content, network, ByteTokenizer())
    embedder = Embedder.from_path(f"{folder}/model.tflite")
    for pooling in ("mean", "last"):
        expected = embed_texts(network, ByteTokenizer(), TEXTS, pooling)
        given = embedder.embed(ByteTokenizer(), TEXTS, pooling)
        np.testing.assert_allclose(given, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", slow_but(["transformer", "lstm"], "transformer"))
def test_a_file_gives_the_vectors_of_its_network(tmp_path, family):
    network = NETWORKS[family]()
    folder, report = export(tmp_path, network, embedding=True)
    model = load(folder)
    for pooling in ("mean", "last"):
        expected = embed_texts(network, ByteTokenizer(), TEXTS, pooling)
        np.testing.assert_allclose(model.embed(TEXTS, pooling), expected, atol=2e-5, rtol=1e-4)
    assert model.can("embed")
    assert model.description.embedding == {
        "name": "embed",
        "length": embed_length(network),
        "width": expected.shape[1],
    }
    compared = {check["name"]: check for check in report["checks"]}
    for kernels in ("xnnpack", "plain"):
        assert compared[f"embedding_error ({kernels})"]["limit"] == 1e-4
        assert compared[f"embedding_cosine ({kernels})"]["value"] > 0.99999


@pytest.mark.parametrize(
    ("family", "quantize"),
    slow_but(
        [("transformer", "int8"), ("transformer", "int4"), ("lstm", "int8")],
        ("transformer", "int4"),
    ),
)
def test_a_rounded_file_is_near_its_network(tmp_path, family, quantize):
    network = NETWORKS[family]()
    folder, _ = export(tmp_path, network, embedding=True, quantize=quantize)
    vectors = load(folder).embed(TEXTS)
    expected = embed_texts(network, ByteTokenizer(), TEXTS)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (vectors * expected).sum(axis=1) / norms
    assert cosines.min() > {"int8": 0.995, "int4": 0.9}[quantize]


def test_a_text_that_is_written_goes_on(tmp_path):
    folder, _ = export(tmp_path, NETWORKS["transformer"](), embedding=True)
    model = load(folder)
    expected = "".join(model.stream("The ", max_tokens=8))
    pieces = model.stream("The ", max_tokens=8)
    written = next(pieces)
    vector = model.embed("between")
    assert vector.shape == (1, 32) and written + "".join(pieces) == expected
    with pytest.raises(ConfigError, match="pooling: expected mean or last; received 'max'"):
        model.embed("a", pooling="max")
    with pytest.raises(DataError, match="text 2 of 2 has no token"):
        model.embed(["a", ""])
    # By the command, from the folder and from the file in it.
    (tmp_path / "texts.txt").write_text("ab\nc\n")
    for number, target in enumerate((folder, f"{folder}/model.tflite")):
        output = str(tmp_path / f"{number}.npy")
        words = ["embed", target, "--text", str(tmp_path / "texts.txt"), "--output", output]
        assert cli.main([*words, "--pooling", "last"]) == 0
        np.testing.assert_array_equal(
            np.load(output), tfscale.embed(folder, ["ab", "c"], pooling="last")
        )
    # Without its description the file itself says what it has.
    (tmp_path / "export" / "model.json").rename(tmp_path / "model.json")
    np.testing.assert_array_equal(load(folder).embed("between"), vector)


def test_a_file_without_the_signature(tmp_path, capsys):
    folder, _ = export(tmp_path, NETWORKS["nnlm"]())
    assert "embedding" not in json.loads((tmp_path / "export" / "model.json").read_text())
    words = r"gives no hidden states.*\.tflite file exported with --embedding true"
    with pytest.raises(ConfigError, match=words):
        tfscale.embed(folder, ["a"])
    with pytest.raises(ConfigError, match="gives no hidden states.* export the run again with"):
        load(folder).embed("a")


@pytest.mark.parametrize("format", ["saved_model", "litertlm"])
def test_formats_that_give_none(tmp_path, format):
    words = f"embedding is for a tflite or web file .* received a network with format={format}"
    with pytest.raises(ConfigError, match=words):
        export(tmp_path, NETWORKS["transformer"](), embedding=True, format=format)
    assert not (tmp_path / "export").exists()
