"""The float32 copy of a rounded file: its numbers, its logits, and what it shows."""

import io

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import BufferT, TensorType
from ai_edge_litert.tools import flatbuffer_utils

from tests.exporting.exported import (
    TEXT,
    check_parity,
    make_file,
    make_network,
    write_folder,
)
from tfscale.device.decoder import LiteRTDecoder
from tfscale.exporting import dequantized
from tfscale.exporting.dequantized import write_dequantized
from tfscale.exporting.flatbuffer import new_tensor, operations, write_model
from tfscale.exporting.limits import float32_copy_limits, limits_of
from tfscale.exporting.rounded import rounded_in_place
from tfscale.models.weight_formats import store, weight_formats
from tfscale.text.tokenizers import train_tokenizer

FILES = [("transformer", "int8"), ("transformer", "int4_all"), ("lstm", "int8")]


def copy_of(tmp_path, content):
    rounded, copy = tmp_path / "rounded.tflite", tmp_path / "copy.tflite"
    rounded.write_bytes(content)
    with open(copy, "wb") as file:
        write_dequantized(file, str(rounded))
    return copy


@pytest.mark.parametrize("family, quantize", FILES)
def test_numbers_and_logits_are_those_of_the_rounded_network(tmp_path, family, quantize):
    network, content = make_network(family), make_file(family, quantize)
    copy = copy_of(tmp_path, content)
    assert operations(copy.read_bytes()) == operations(content)
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(copy.read_bytes()))
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors]
    assert not {tensor.type for tensor in tensors} & {TensorType.INT8, TensorType.INT4}
    stored = {
        tensor.buffer: np.frombuffer(bytes(data), np.float32)
        for tensor in tensors
        if tensor.type == TensorType.FLOAT32
        and (data := model.buffers[tensor.buffer].data) is not None
    }
    for weight in network.weights:
        form = weight_formats(network, quantize).get(weight.path)
        if form is None or form.gates or form.bits > 8:
            continue
        numbers = store(weight.value, form).numpy()
        wanted = (numbers.T if form.axis == 0 else numbers).ravel()
        assert any(
            len(array) == len(wanted) and np.allclose(array, wanted, rtol=1e-6, atol=1e-9)
            for array in stored.values()
        ), weight.path
    ids = np.arange(16) * 7 % 257
    with rounded_in_place(network, quantize):
        expected = np.asarray(network(ids[None]))[0]
    decoder = LiteRTDecoder(str(copy))
    logits = np.stack([decoder.feed([int(token)]) for token in ids])
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)


def test_parts_of_a_row_give_the_file_that_one_part_gives(tmp_path, monkeypatch):
    rounded = tmp_path / "rounded.tflite"
    rounded.write_bytes(make_file("transformer", "int4_all"))
    whole, parts = io.BytesIO(), io.BytesIO()
    write_dequantized(whole, str(rounded))
    monkeypatch.setattr(dequantized, "_PART", 1)
    write_dequantized(parts, str(rounded))
    assert whole.getvalue() == parts.getvalue()


def test_it_shows_what_hides_behind_the_rounding_of_activations(tmp_path):
    # One step up or down in 64 codes of one matrix is less than rounding does.
    content = make_file("transformer", "int8")
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.type == TensorType.INT8 and data is not None and b"expand" in tensor.name:
            codes = np.frombuffer(bytes(data), np.int8).copy()
            codes[:64] -= np.sign(codes[:64])
            model.buffers[tensor.buffer].data = codes.view(np.uint8)
            break
    else:
        pytest.fail("the file has no such matrix")
    tokenizer = train_tokenizer("byte", [], 257)
    network = make_network("transformer")
    folder = write_folder(tmp_path / "file", write_model(model), network, tokenizer, "int8")
    report = check_parity(network, tokenizer, folder, tokenizer.encode(TEXT), "int8")
    failed = {row["name"] for row in report["checks"] if not row["passed"]}
    assert failed and all("(float32 copy)" in name for name in failed)


def test_whole_numbers_of_a_model_stay(tmp_path):
    """int8 constants without scales are no weights."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(make_file("transformer", "int8")))
    [subgraph, *_] = model.subgraphs
    model.buffers.append(BufferT())
    model.buffers[-1].data = np.arange(4, dtype=np.int8).view(np.uint8)
    place = new_tensor(model, subgraph, TensorType.INT8, [4], b"own", len(model.buffers) - 1)
    name = subgraph.tensors[place].name
    copy = copy_of(tmp_path, write_model(model))
    copied = flatbuffer_utils.read_model_from_bytearray(bytearray(copy.read_bytes()))
    [own] = [tensor for tensor in copied.subgraphs[0].tensors if tensor.name == name]
    assert own.type == TensorType.INT8
    assert copied.buffers[own.buffer].data.tolist() == [0, 1, 2, 3]


def test_limits_of_the_copy_do_not_grow_with_what_rounding_may_change():
    network = make_network("transformer")
    strict, folded = (
        float32_copy_limits(network, "int8", converted) for converted in (False, True)
    )
    assert strict == limits_of(network, "none") and strict.relative_logit_error == 1e-4
    assert folded.relative_logit_error == 2e-3 and folded.max_logit_difference is None
    in_blocks = float32_copy_limits(network, "int4", converted=True)
    assert in_blocks == limits_of(network, "int4", converted=True)
