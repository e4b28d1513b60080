"""Writes a GGUF file: entries, vocabulary and tensors, of which one at a time is in memory."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfscale.errors import ExportError
from tfscale.exporting.llama_cpp.architectures import Architecture, hyperparameters
from tfscale.exporting.llama_cpp.tensors import POSITIONS, named_tensors
from tfscale.models.hub_tensor import HubTensor
from tfscale.models.transformer import TransformerLM

BLOCK = 32
"""Weights of a block of Q8_0, which share a scale in float16."""
STORED_AS = {"none": "F32", "float16": "F16", "int8": "Q8_0"}
"""Recipe -> the type of llama.cpp in which matrices and tables are stored."""
_LARGEST = {"F32": float(np.finfo(np.float32).max), "F16": 65504.0, "Q8_0": 127 * 65504.0}
_FILE_TYPES = {"F32": "ALL_F32", "F16": "MOSTLY_F16", "Q8_0": "MOSTLY_Q8_0"}


def import_gguf() -> Any:
    """Returns the module `gguf`.

    Raises:
        ExportError: it is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise ExportError("--format gguf needs gguf: pip install 'tfscale[train]'") from error
    return gguf


def type_of(tensor: HubTensor, quantize: str) -> str:
    """Returns the type of llama.cpp that a tensor is stored as.

    A recipe applies to matrices and the token tables. Rows that blocks do not divide are stored as
    float16, as llama.cpp's own quantizer does.

    Example:
        type_of(HubTensor("output.weight", (50, 48), read), "int8")    # "F16"
    """
    rounds = len(tensor.shape) > 1 and tensor.name != POSITIONS
    wanted = STORED_AS[quantize] if rounds else "F32"
    return "F16" if wanted == "Q8_0" and tensor.shape[-1] % BLOCK else wanted


def write_gguf(
    network: TransformerLM,
    kind: Architecture,
    vocabulary: Mapping[str, object],
    quantize: str,
    path: str,
    chat_templates: Mapping[str, str] | None = None,
) -> None:
    """Writes a network as a GGUF file.

    Args:
        network: the network.
        kind: the architecture of llama.cpp that computes it.
        vocabulary: entries of the tokenizer by their names after `tokenizer.ggml.`.
        quantize: the recipe, of `STORED_AS`.
        path: the file to write.
        chat_templates: in Jinja, by name; `default` is the one that llama.cpp takes unasked.

    Raises:
        ExportError: a weight that float16 cannot hold.
    """
    gguf = import_gguf()
    writer = gguf.GGUFWriter(path, kind.name)
    # No name of a model: llama.cpp expects certain tokens where it reads "phi3" or "smollm" here.
    writer.add_name("tfscale")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[STORED_AS[quantize]]])
    for key, value in hyperparameters(kind, network.config).items():
        _add(writer, f"{kind.name}.{key}", value)
    for key, value in vocabulary.items():
        _add(writer, f"tokenizer.ggml.{key}", value)
    writer.add_chat_template(
        [{"name": name, "template": text} for name, text in (chat_templates or {}).items()]
    )
    tensors = list(named_tensors(network, kind))
    for tensor in tensors:
        stored = gguf.GGMLQuantizationType[type_of(tensor, quantize)]
        count = int(np.prod(tensor.shape))
        block, size = gguf.GGML_QUANT_SIZES[stored]
        # The writer takes shapes of what is stored: bytes, where a type has blocks.
        shape = gguf.quant_shape_to_byte_shape(tensor.shape, stored) if block > 1 else tensor.shape
        dtype = np.dtype({"F32": "float32", "F16": "float16"}.get(stored.name, "uint8"))
        writer.add_tensor_info(tensor.name, shape, dtype, count // block * size, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        stored = gguf.GGMLQuantizationType[type_of(tensor, quantize)]
        values = np.ascontiguousarray(tensor.read(), np.float32)
        if not np.abs(values).max() <= _LARGEST[stored.name]:
            writer.close()
            raise ExportError(
                f"{tensor.name} has a weight beyond the range of {stored.name}"
                f" ({_LARGEST[stored.name]:.4g})"
            )
        writer.write_tensor_data(gguf.quants.quantize(values, stored))
    writer.close()


def _add(writer: Any, key: str, value: object) -> None:
    """Adds an entry in the type of its value; numbers are uint32 and float32, as llama.cpp reads
    them."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
