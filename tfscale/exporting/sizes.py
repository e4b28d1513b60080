"""Sizes of an exported file, and the check that its weights are all there, each of them once."""

import os
import zlib
from collections.abc import Mapping

from tfscale.config import Quantization
from tfscale.exporting.report import Checks, Sizes
from tfscale.exporting.tflite import DecodingNetwork
from tfscale.models.recipe import recipe
from tfscale.models.weight_formats import stored_bytes

_READ_BYTES = 1 << 20


def sizes_of(network: DecodingNetwork, quantize: Quantization, path: str) -> Sizes:
    """Returns the sizes of the file of a network, and of the network's weights."""
    return {
        "file_bytes": os.path.getsize(path),
        "gzip_bytes": _gzip_bytes(path),
        "weight_bytes": stored_bytes(network, quantize),
        "float32_weight_bytes": stored_bytes(network, "none"),
    }


def _gzip_bytes(path: str) -> int:
    """Returns the bytes that gzip makes of a file."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    size = 0
    with open(path, "rb") as file:
        while part := file.read(_READ_BYTES):
            size += len(packer.compress(part))
    return size + len(packer.flush())


def check_size(
    checks: Checks,
    sizes: Sizes,
    counts: Mapping[str, Mapping[str, int]],
    others: int,
    scales: int,
    quantize: Quantization,
    converted: bool,
) -> None:
    """Checks the size: less than the weights means lost ones, more means some stored twice.

    The graph takes up to 600 bytes an operation. How much the converter folds of other people's
    models, and which constants they have, is not known: only their files in int8 and int4 are
    checked, whose constants differ from the weights by their type.
    """
    graph = (
        600 * sum(sum(names.values()) for names in counts.values()) + sizes["weight_bytes"] // 10
    )
    most = sizes["weight_bytes"] + scales + graph
    if not converted:
        checks.add(
            "file_bytes (weights present)",
            sizes["file_bytes"],
            ">=",
            int(0.9 * sizes["weight_bytes"]),
        )
        checks.add("file_bytes (weights stored once)", sizes["file_bytes"], "<=", most)
    elif recipe(quantize).rounds:
        size = sizes["file_bytes"] - others
        checks.add("rounded_bytes (weights stored once)", size, "<=", most)
