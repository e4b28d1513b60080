"""Files whose parts do not agree: each is refused by a line, where LiteRT itself would read memory that is not its own."""

import hashlib
import json
import os

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

import tfscale.device
from benchmarks import fuzz_tflite
from tfscale.device.operations import OPERATIONS
from tfscale.device.structure import check_structure
from tfscale.errors import ExportError


def read(path):
    with open(path, "rb") as file:
        return flatbuffer_utils.read_model_from_bytearray(bytearray(file.read()))


def write(path, model):
    with open(path, "wb") as file:
        file.write(flatbuffer_utils.convert_object_to_bytearray(model))


def operator(model, name):
    """The first operation of a name, and its tensors' list."""
    for graph in model.subgraphs:
        for found in graph.operators:
            code = model.operatorCodes[found.opcodeIndex]
            if OPERATIONS[max(code.builtinCode, code.deprecatedBuiltinCode)] == name:
                return found, graph.tensors
    pytest.skip(f"no {name} in this file")


def constant(model):
    """A tensor of two dimensions with values in the file."""
    return next(
        tensor
        for tensor in model.subgraphs[0].tensors
        if model.buffers[tensor.buffer].data is not None
        and tensor.shape is not None
        and len(tensor.shape) == 2
    )


def a_buffer_that_is_not_there(model):
    model.subgraphs[-1].tensors[4].buffer = len(model.buffers)
    return f"tensor 4: there is no buffer {len(model.buffers)}"


def another_tensors_buffer(model):
    tensors = model.subgraphs[0].tensors
    sizes = {
        tensor.buffer: len(model.buffers[tensor.buffer].data)
        for tensor in tensors
        if model.buffers[tensor.buffer].data is not None
    }
    tensor = constant(model)
    tensor.buffer = next(buffer for buffer, size in sizes.items() if size != sizes[tensor.buffer])
    return "takes .* bytes, and its buffer has "


def a_larger_shape(model):
    tensor = constant(model)
    tensor.shape = [int(tensor.shape[0]) + 1, int(tensor.shape[1])]
    return "takes .* bytes, and its buffer has "


def a_negative_shape(model):
    constant(model).shape = [-1, 4]
    return r"shape \[-1, 4\]"


def an_endless_shape(model):
    tensor = constant(model)
    tensor.shape, tensor.buffer = [2**31 - 1, 2**31 - 1], 0
    return "takes 18,446,744,056,529,682,436 bytes"


def a_type_that_is_not_there(model):
    constant(model).type = 77
    return "unknown type 77"


def text_as_a_constant(model):
    constant(model).type = schema.TensorType.STRING
    return "text and handles are no constants"


def scales_of_another_shape(model):
    tensor = constant(model)
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [1.0, 1.0], [0, 0]
    tensor.shape = [1, int(np.prod(tensor.shape))]
    return "2 scales along dimension 0 of shape "


def an_input_that_is_not_there(model):
    found, tensors = operator(model, "ADD")
    found.inputs = [len(tensors), int(found.inputs[1])]
    return rf"\(ADD\): input 0 is tensor {len(tensors)} of {len(tensors)}"


def an_input_left_out(model):
    found, tensors = operator(model, "ADD")
    found.inputs = [int(found.inputs[0]), -1]
    return rf"\(ADD\): input 1 is tensor -1 of {len(tensors)}"


def no_outputs(model):
    operator(model, "FULLY_CONNECTED")[0].outputs = []
    return r"\(FULLY_CONNECTED\): it has [23] inputs and 0 outputs"


def another_operation(model):
    found, other = operator(model, "FULLY_CONNECTED")[0], operator(model, "MUL")[0]
    if len(found.inputs) != 3:
        pytest.skip("as many inputs")
    found.inputs, found.opcodeIndex = [int(found.inputs[0])] * 3, other.opcodeIndex
    return r"\(MUL\): it has 3 inputs and 1 outputs"


def an_operation_that_is_not_there(model):
    operator(model, "MUL")[0].opcodeIndex = 99
    return "there is no code 99"


def a_result_of_another_type(model):
    found, tensors = operator(model, "MUL")
    tensors[found.outputs[0]].type = schema.TensorType.UINT8
    return "its inputs and outputs have different types"


def fewer_parts_than_outputs(model):
    operator(model, "SPLIT")[0].builtinOptions.numSplits = 2
    return r"\(SPLIT\): 2 outputs are announced, and it has 4"


def a_split_without_options(model):
    operator(model, "SPLIT")[0].builtinOptions = None
    return r"\(SPLIT\): 0 outputs are announced, and it has 4"


def options_of_another_operation(model):
    found = operator(model, "PACK")[0]
    found.builtinOptionsType, found.builtinOptions = 3, schema.ConcatEmbeddingsOptionsT()
    return r"\(PACK\): 0 inputs are announced"


def a_graphs_output_that_is_not_there(model):
    model.subgraphs[0].outputs = [4096]
    return "outputs: a tensor that does not exist"


def a_signature_of_another_graph(model):
    model.signatureDefs[0].subgraphIndex = len(model.subgraphs)
    return f"signature 0: there is no subgraph {len(model.subgraphs)}"


def a_signatures_tensor_that_is_not_there(model):
    model.signatureDefs[0].outputs[0].tensorIndex = 4096
    return "signature 0 names a tensor that is no input or output of its subgraph"


def a_graph_without_outputs(model):
    model.subgraphs[0].outputs = []
    return "signature 0 names a tensor that is no input or output of its subgraph"


CHANGES = (
    a_buffer_that_is_not_there,
    another_tensors_buffer,
    a_larger_shape,
    a_negative_shape,
    an_endless_shape,
    a_type_that_is_not_there,
    text_as_a_constant,
    scales_of_another_shape,
    an_input_that_is_not_there,
    an_input_left_out,
    no_outputs,
    another_operation,
    an_operation_that_is_not_there,
    a_result_of_another_type,
    fewer_parts_than_outputs,
    a_split_without_options,
    options_of_another_operation,
    a_graphs_output_that_is_not_there,
    a_signature_of_another_graph,
    a_signatures_tensor_that_is_not_there,
    a_graph_without_outputs,
)


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_agree_is_named(copy, change):
    check_structure(copy.file)
    model = read(copy.file)
    message = change(model)
    write(copy.file, model)
    with pytest.raises(ExportError, match=message) as caught:
        check_structure(copy.file)
    assert str(caught.value).startswith(f"{copy.file} is damaged or was made to do harm: ")
    with open(copy.metadata) as file:
        metadata = json.load(file)
    with open(copy.file, "rb") as file:
        metadata["sha256"] = hashlib.sha256(file.read()).hexdigest()
    with open(copy.metadata, "w") as file:
        json.dump(metadata, file)
    with pytest.raises(ExportError, match=message):
        tfscale.device.load(copy.directory)


def test_a_buffer_behind_the_end_of_the_file(copy):
    model = read(copy.file)
    model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 64, 1 << 40
    write(copy.file, model)
    with pytest.raises(ExportError, match="buffer 1 ends behind the file"):
        check_structure(copy.file)


def test_files_in_all_recipes_agree(quantized):
    check_structure(quantized.file)


def test_a_model_inside_of_another_file(copy, tmp_path):
    size = os.path.getsize(copy.file)
    with open(copy.file, "rb") as file, open(tmp_path / "bundle", "wb") as bundle:
        bundle.write(b"\0" * 4096 + file.read() + b"\xff" * 100)
    check_structure(str(tmp_path / "bundle"), 4096, 4096 + size)
    with pytest.raises(ExportError, match="is truncated or damaged|ends behind the file"):
        check_structure(str(tmp_path / "bundle"), 4096, 4096 + size // 2)


def test_what_the_runtime_finds_at_first_use_is_one_line(copy):
    """Each part is sound by itself, and the number of slices that are stacked is not what the next operation takes."""
    model = read(copy.file)
    found, tensors = operator(model, "STRIDED_SLICE")
    found.builtinOptions.shrinkAxisMask = 0
    write(copy.file, model)
    os.remove(copy.metadata)
    with pytest.raises(ExportError, match="cannot be run by LiteRT: ") as caught:
        tfscale.device.load(copy.directory).generate("a longer prompt", max_tokens=2)
    assert "\n" not in str(caught.value)


def test_the_fuzzer_tells_a_changed_file_from_a_whole_one(copy):
    import random

    draw = random.Random(5)
    model = read(copy.file)
    before = flatbuffer_utils.convert_object_to_bytearray(model)
    for _ in range(20):
        what, content = fuzz_tflite._mutate(model, draw)
        assert "=" in what and content[4:8] == b"TFL3"
    assert flatbuffer_utils.convert_object_to_bytearray(model) == before  # It changes copies.
