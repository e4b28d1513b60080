"""The formats of a recipe that a .tflite file can hold, by who writes the weights.

Matrices that are written row by row have the format that the recipe says. What goes through the
converter has the one type of the recipe, and then litert-quantizer's formats.
"""

from collections.abc import Mapping

import keras

from tfscale.errors import ExportError
from tfscale.models.cached_model import CachedModel
from tfscale.models.recipe import BLOCKS, WeightFormat, recipe
from tfscale.models.weight_formats import stored_bytes, weight_formats

_CONVERTED_AS = {"float32": "none", "float16": "float16"}
"""Type in which weights are converted -> the recipe that stores them so."""


def float_formats(network: keras.Model | CachedModel, quantize: str) -> dict[str, WeightFormat]:
    """Returns the formats of weights that a recipe does not round, by their paths."""
    return weight_formats(network, _CONVERTED_AS[recipe(quantize).converted_as])


def converted_bytes(network: keras.Model | CachedModel, quantize: str) -> int:
    """Returns the bytes of a network's weights before a recipe rounds them."""
    return stored_bytes(network, _CONVERTED_AS[recipe(quantize).converted_as])


def is_in_rows(
    form: WeightFormat, in_int8: WeightFormat, shape: tuple[int, ...], in_float: WeightFormat
) -> bool:
    """Returns whether a matrix can be written row by row in a format.

    Args:
        form: of the recipe.
        in_int8: what the recipe int8 has for the matrix; its axis is that of the products' sums.
        shape: of the matrix.
        in_float: its format where it is not rounded.
    """
    if form.bits >= 16:
        return form.bits in (32, in_float.bits)
    axis = form.axis
    if form.gates or axis != in_int8.axis or not isinstance(axis, int):
        return False
    if form.bits == 4:
        return form.block in BLOCKS and shape[axis] % form.block == 0
    return form.bits == 8 and not form.block


def check_converted(network: keras.Model | CachedModel, quantize: str) -> None:
    """Refuses a recipe if the converter and the quantizer would store a weight in another format.

    Args:
        network: any model.
        quantize: the recipe.

    Raises:
        ExportError: names the weight, its format and the possible ones.
    """
    chosen = recipe(quantize)
    formats = weight_formats(network, quantize)
    possible: list[Mapping[str, WeightFormat]] = []
    if not chosen.rounds:
        possible.append(float_formats(network, quantize))
    else:
        possible.append(weight_formats(network, "int8"))
        if chosen.blocks_in:
            possible.append(weight_formats(network, "int4_all"))
    for path, form in formats.items():
        allowed = list(dict.fromkeys(made[path] for made in possible))
        if not any(_are_same(form, one) for one in allowed):
            raise ExportError(
                f"recipe {quantize} stores {path} as {form}, and the file would have it as"
                f" {' or '.join(map(str, allowed))}"
            )


def _are_same(form: WeightFormat, other: WeightFormat) -> bool:
    # Floats have no scales, and so no axis of them.
    return form == other or form.bits == other.bits >= 16
