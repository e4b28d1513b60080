"""The benchmark beside llama.cpp: the files of its shapes, and rows that follow from the figures."""

import argparse
import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest

import tfscale
from benchmarks import device_shapes
from tfscale.errors import TfscaleError
from tfscale.exporting import tflite

TINY = {
    "hidden_dim": 64,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "feed_forward_dim": 96,
    "vocabulary_size": 320,
}


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("kind", "table", "matrices"),
    [("float32", "F32", "F32"), ("int8", "Q8_0", "Q8_0"), ("int4", "Q8_0", "Q4_0")],
)
def test_a_gguf_file_has_the_tensors_of_its_shape(kind, table, matrices, tmp_path, monkeypatch):
    gguf = pytest.importorskip("gguf")
    monkeypatch.setitem(device_shapes.SHAPES, "tiny", TINY)
    path = str(tmp_path / "model.gguf")
    written = device_shapes.write_gguf("tiny", kind, path)
    assert written == {"bytes": (tmp_path / "model.gguf").stat().st_size}
    assert os.listdir(tmp_path) == ["model.gguf"]
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    assert len(tensors) == 2 + 2 * 9
    # Sizes are written with the inner dimension first.
    assert tensors["blk.1.attn_k.weight"].shape.tolist() == [64, 32]
    assert tensors["blk.0.ffn_down.weight"].shape.tolist() == [96, 64]
    assert tensors["token_embd.weight"].tensor_type.name == table
    assert tensors["blk.0.ffn_up.weight"].tensor_type.name == matrices


def test_a_file_that_is_not_whole_never_has_its_name(tmp_path, monkeypatch):
    gguf = pytest.importorskip("gguf")
    monkeypatch.setitem(device_shapes.SHAPES, "tiny", TINY)
    path = tmp_path / "model.gguf"
    path.write_bytes(b"of an earlier run")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", stop)
    with pytest.raises(KeyboardInterrupt):
        device_shapes.write_gguf("tiny", "float32", str(path))
    assert path.read_bytes() == b"of an earlier run" and os.listdir(tmp_path) == ["model.gguf"]
    # Ours, on a full disk.
    monkeypatch.setattr(tflite, "export_tflite", lambda *_: b"of this run")
    monkeypatch.setattr(tfscale, "preset", lambda *_, **__: None)
    monkeypatch.setattr(tfscale, "build_network", lambda *_, **__: None)
    assert device_shapes.write_tflite("tiny", "float32", str(path)) == {"bytes": 11}
    assert path.read_bytes() == b"of this run"
    monkeypatch.setattr(os, "fsync", full_disk)
    monkeypatch.setattr(tflite, "export_tflite", lambda *_: b"of a full disk")
    with pytest.raises(TfscaleError, match="no space left"):
        device_shapes.write_tflite("tiny", "float32", str(path))
    assert path.read_bytes() == b"of this run" and os.listdir(tmp_path) == ["model.gguf"]


def test_a_side_reports_what_its_decoder_did(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    fed = []
    decoder = SimpleNamespace(reset=lambda: fed.append("reset"), feed=lambda ids: feed(ids))

    def feed(ids):
        fed.append(len(ids))
        return np.array([0.0, 1.0])

    result = device_shapes.timed(lambda: decoder, str(path), threads=1)
    once = ["reset", len(device_shapes.PROMPT), *[1] * device_shapes.TOKENS]
    assert fed == once * device_shapes.REPEATS
    assert result["memory"] == result["rose"]["all"] / 1000


def test_a_row_has_the_median_of_the_ratios_of_its_rounds(tmp_path, monkeypatch):
    rounds = iter([(10, 4.0), (20, 2.0), (12, 3.0), (10, 2.0), (30, 1.0), (10, 1.0)])

    def measure(module, task, *_):
        assert (module, task in ("ours", "llama")) == ("device_shapes", True)
        decode, first = next(rounds)
        return {"decode": decode, "first_token": first, "memory": 1.5}

    monkeypatch.setattr(device_shapes, "measure", measure)
    for form in ("tflite", "gguf"):
        (tmp_path / f"30x576-int8.{form}").touch()
    options = argparse.Namespace(
        shapes=["30x576"], kinds=["int8"], threads=1, llama_cpp="", rounds=3
    )
    decode, first, memory = device_shapes.rows(options, str(tmp_path))
    # Ours against the peer's by rounds: 10 / 20, 12 / 10, 30 / 10; and 4 / 2, 3 / 2, 1 / 1.
    assert (decode.ours, decode.peer, decode.ratio, decode.ok) == (30, 20, 1.2, True)
    assert (first.ours, first.peer, first.ratio, first.ok) == (1.0, 1.0, 1.5, False)
    assert (memory.ratio, memory.ok) == (1.0, None)
