"""One packed copy of the weights for all signatures, and arrays that stay in place."""

import ctypes
import gc
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ai_edge_litert
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tests.device.conftest import CONTEXT
from tfscale.compat.aligned import aligned_zeros
from tfscale.device import litert, load
from tfscale.device.decoder import LiteRTDecoder
from tfscale.device.in_place import updated_in_place
from tfscale.device.session import CompiledSession, InterpreterSession, open_session
from tfscale.errors import ExportError

IDS = np.random.default_rng(0).integers(0, 257, CONTEXT).tolist()
ENDS_WHILE_A_THREAD_DECODES = """
import atexit, threading

fed = threading.Event()

def two_more_calls():
    for _ in range(2):
        fed.clear()
        assert fed.wait(60)

# What is registered first runs last: after all that is done with a model when a process ends.
atexit.register(two_more_calls)

import sys
from tfscale.device.decoder import LiteRTDecoder

decoder = LiteRTDecoder(sys.argv[1])

def decode():
    while True:
        decoder.reset()
        decoder.feed([1, 2, 3, 4, 5, 6])
        fed.set()

threading.Thread(target=decode, daemon=True).start()
"""
CACHES = {f"kv_cache_{part}_{layer}" for part in "kv" for layer in range(2)}


def read(path):
    return flatbuffer_utils.read_model_from_bytearray(bytearray(Path(path).read_bytes()))


def write(path, model):
    Path(path).write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return str(path)


def all_logits(decoder):
    """Logits of a prompt by prefill calls, and of each token after it."""
    decoder.reset()
    return np.stack([decoder.feed(IDS[:9]), *(decoder.feed([token]) for token in IDS[9:])])


def shared_memory():
    """Kilobytes of shared memory that are mapped by this process: LiteRT's packed weights."""
    return int(re.findall(r"^RssShmem:\s+(\d+)", Path("/proc/self/status").read_text(), re.M)[0])


def test_the_library_is_there_and_its_structures_have_its_sizes():
    assert litert.library() is not None
    # LiteRT asserts these sizes of LiteRtLayout and LiteRtRankedTensorType at compile time.
    assert ctypes.sizeof(litert.TensorType) == 72
    assert litert.TensorType.layout.offset == 4


def test_xnnpack_runs_compiled_and_without_it_the_interpreter(quantized):
    assert isinstance(open_session(quantized.file, 1, True), CompiledSession)
    assert isinstance(open_session(quantized.file, 1, False), InterpreterSession)


def test_where_the_package_has_no_library_the_interpreter_gives_the_same_logits(
    quantized, monkeypatch
):
    expected = all_logits(LiteRTDecoder(quantized.file))
    monkeypatch.setattr(litert, "library", lambda: None)
    decoder = LiteRTDecoder(quantized.file)
    assert isinstance(decoder.session, InterpreterSession)
    np.testing.assert_array_equal(all_logits(decoder), expected)


def test_caches_are_written_where_they_are_read(quantized):
    assert updated_in_place(quantized.file) == CACHES
    decoder = LiteRTDecoder(quantized.file)
    assert all(decoder._outputs[name] is decoder._inputs[name] for name in CACHES)


def test_a_cache_that_something_else_reads_gets_an_output_of_its_own(quantized, tmp_path):
    # An addition to one signature, whose result nobody asks for, reads a cache as it was before.
    model = read(quantized.file)
    signature = model.signatureDefs[0]
    graph = model.subgraphs[signature.subgraphIndex]
    cache = next(x.tensorIndex for x in signature.inputs if x.name == b"kv_cache_k_1")
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ABS
    code.version = 1
    model.operatorCodes.append(code)
    tensor = schema.TensorT()
    tensor.shape, tensor.type = graph.tensors[cache].shape, graph.tensors[cache].type
    tensor.buffer, tensor.name = 0, b"unused"
    graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [cache], [len(graph.tensors) - 1]
    graph.operators.append(operator)
    path = write(tmp_path / "model.tflite", model)
    assert updated_in_place(path) == CACHES - {"kv_cache_k_1"}
    decoder = LiteRTDecoder(path)
    assert decoder._copied == ["kv_cache_k_1"]
    expected = all_logits(LiteRTDecoder(quantized.file))
    np.testing.assert_array_equal(all_logits(decoder), expected)


def test_the_state_of_an_lstm_is_never_written_in_place(make_export, byte_tokenizer):
    exported = make_export("lstm", byte_tokenizer)
    assert updated_in_place(exported.file) == set()


def test_signatures_in_another_order_give_the_same_logits(quantized, tmp_path):
    model = read(quantized.file)
    model.signatureDefs.reverse()
    reordered = LiteRTDecoder(write(tmp_path / "model.tflite", model))
    np.testing.assert_array_equal(all_logits(reordered), all_logits(LiteRTDecoder(quantized.file)))


def test_two_open_models_do_not_share_a_text(quantized):
    first, second = LiteRTDecoder(quantized.file), LiteRTDecoder(quantized.file)
    expected = all_logits(first)
    first.reset()
    logits = [first.feed(IDS[:9])]
    for token in IDS[9:]:
        second.feed([5])
        logits.append(first.feed([token]))
    np.testing.assert_array_equal(logits, expected)


def test_a_cache_of_another_shape_in_one_signature_is_refused(quantized):
    session = open_session(quantized.file, 1, True)
    signature = session.signatures["decode"]
    inputs = {name: tensor.zeros() for name, tensor in signature.inputs.items()}
    outputs = {name: tensor.zeros() for name, tensor in signature.outputs.items()}
    inputs["mask"] = aligned_zeros((1, 1, 1, CONTEXT + 1), np.dtype(np.float32))
    with pytest.raises(ExportError, match="mask of decode has shape"):
        session.call("decode", inputs, outputs)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what is shared")
def test_weights_are_packed_once_for_all_signatures_and_freed_with_the_model(tmp_path):
    from tests.device.conftest import write_export
    from tests.gpt2 import gpt2
    from tfscale.models import build_network
    from tfscale.text.tokenizers import train_tokenizer

    config = gpt2(
        vocabulary_size=257, sequence_length=16, hidden_dim=512, num_layers=3, num_heads=4
    )
    tokenizer = train_tokenizer("byte", ["any"], 257)
    exported = write_export(str(tmp_path / "export"), build_network(config, seed=1), tokenizer)
    file = os.path.getsize(exported.file) // 1024
    assert file > 30_000
    gc.collect()  # What earlier tests held counts neither before nor after.
    before = shared_memory()
    model = load(exported.directory)
    decoder = model.decoder()
    decoder.feed([1] * 14)  # By calls of 8 and 4, and by `decode`.
    held = shared_memory() - before
    assert 0.8 * file < held < 1.3 * file
    del decoder, model
    gc.collect()
    assert shared_memory() - before < 0.1 * file


def test_a_file_that_litert_refuses_is_named(quantized, tmp_path):
    model = read(quantized.file)
    code = next(c for c in model.operatorCodes if c.builtinCode == schema.BuiltinOperator.SOFTMAX)
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, 32
    code.customCode = b"NoSuchOperation"
    path = write(tmp_path / "model.tflite", model)
    with pytest.raises(ExportError, match=re.escape(path) + " cannot be run by LiteRT"):
        LiteRTDecoder(path).feed([1])


def damaged(path, target, name, change):
    """A file at `target` whose tensors of an input or output's name have other fields."""
    model = read(path)
    for signature in model.signatureDefs:
        tensors = model.subgraphs[signature.subgraphIndex].tensors
        for entry in (*signature.inputs, *signature.outputs):
            if entry.name == name:
                change(tensors[entry.tensorIndex])
    return write(target, model)


def last_dimension(size):
    def change(tensor):
        tensor.shape = [*tensor.shape[:-1], size]

    return change


def refused_in_one_line(path, capfd):
    """The message with which a file is refused at opening; LiteRT's own lines are not seen."""
    with pytest.raises(ExportError) as raised:
        LiteRTDecoder(path)
    (message,) = str(raised.value).splitlines()
    assert message.startswith(path) and not "".join(capfd.readouterr())
    return message


def test_a_cache_without_numbers_is_refused_by_name(quantized, tmp_path, capfd):
    path = damaged(quantized.file, tmp_path / "empty.tflite", b"kv_cache_k_0", last_dimension(0))
    assert "cannot be run by LiteRT" in refused_in_one_line(path, capfd)


def test_memory_that_the_file_says_too_small_is_not_written(quantized, tmp_path, capfd):
    path = damaged(quantized.file, tmp_path / "small.tflite", b"logits", last_dimension(7))
    message = refused_in_one_line(path, capfd)
    assert "output logits of `decode` has shape (1, 1, 7) by the file" in message
    assert message.endswith("computed in shape (1, 1, 257)")


def test_numbers_of_a_type_that_is_never_written_are_refused_by_name(quantized, tmp_path, capfd):
    model = read(quantized.file)
    signature = model.signatureDefs[0]
    graph = model.subgraphs[signature.subgraphIndex]
    tensor, entry = schema.TensorT(), schema.TensorMapT()
    tensor.shape, tensor.type, tensor.buffer = [1], schema.TensorType.FLOAT64, 0
    tensor.name = entry.name = b"extra"
    entry.tensorIndex = len(graph.tensors)
    graph.tensors.append(tensor)
    graph.inputs = [*graph.inputs, entry.tensorIndex]
    signature.inputs.append(entry)
    path = write(tmp_path / "model.tflite", model)
    assert "element type 11 is none that tfscale writes" in refused_in_one_line(path, capfd)


def test_a_library_that_does_not_load_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(ai_edge_litert, "__file__", str(tmp_path / "__init__.py"))
    assert litert.library.__wrapped__() is None
    for name in ("libLiteRt.so", "libLiteRt.dylib", "libLiteRt.dll"):
        (tmp_path / name).write_bytes(b"of another system")
    assert litert.library.__wrapped__() is None


def test_a_process_ends_while_a_daemon_thread_decodes(quantized):
    command = [sys.executable, "-c", ENDS_WHILE_A_THREAD_DECODES, quantized.file]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_two_threads_that_use_one_session_get_the_answers_of_one(quantized):
    model = load(quantized.directory)
    texts = "The quick brown", "fox jumps"
    expected = [model.score(text).nll for text in texts]
    begin = threading.Barrier(len(texts))

    def scores(text):
        begin.wait()
        return [model.score(text).nll for _ in range(8)]

    with ThreadPoolExecutor(len(texts)) as threads:
        found = list(threads.map(scores, texts))
    assert found == [[nll] * 8 for nll in expected]
