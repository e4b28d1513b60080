"""Says in a line what is wrong with targets and weights before Keras pairs them with outputs.

Keras meets targets that are missing as None in the midst of a loss or metric, and fails with a name
alone where a dataset has no weights by that name.
"""

import keras

from tfscale.compat.keras_losses import need_targets, outputs_without_loss
from tfscale.compat.keras_trainer import KerasLoop, Nested
from tfscale.errors import DataError


def check_batch(model: KerasLoop, batch: Nested) -> None:
    """Refuses a batch whose targets are missing, or whose weights are not those of its targets.

    Args:
        model: compiled.
        batch: inputs, targets and weights, or what stands for them.

    Raises:
        DataError: says what is missing.
    """
    _, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    needing, lacking = need_targets(model), [part is None for part in keras.tree.flatten(y)]
    if all(lacking):
        if needing:
            raise DataError(
                f"the data have no targets, and {needing} compares outputs with them: give y beside"
                " x, or a dataset of (x, y); where a layer adds the loss itself, by add_loss,"
                " compile with loss=None"
            )
        return
    all_have_losses = all(loss is not None for loss in keras.tree.flatten(model.loss))
    if any(lacking) and needing and all_have_losses:
        raise DataError(
            "the data have None as the target of an output, and compile has a loss for each: give"
            " that target, or compile with None as its loss"
        )
    if isinstance(y, dict) and isinstance(model.loss, dict):
        needed = [name for name, loss in model.loss.items() if loss is not None]
        if missing := [name for name in needed if name not in y]:
            raise DataError(
                f"there are no targets {missing[0]!r} for the loss of that output: y has the keys"
                f" {', '.join(map(repr, y))}"
            )
    if isinstance(y, dict) and isinstance(sample_weight, dict):
        # Keras takes what it needs of them by name; of arrays it wants the same names.
        sample_weight = {name: w for name, w in sample_weight.items() if name in y}
        y = {name: y[name] for name in y.keys() - outputs_without_loss(model) | set(sample_weight)}
    check_weights(y, sample_weight, getattr(model.network, "output", None))


def check_weights(y: Nested, sample_weight: Nested, outputs: Nested = None) -> None:
    """Refuses weights by name, or in a list, that are not one for each target.

    Args:
        y: targets.
        sample_weight: their weights, of one output or of several.
        outputs: of the model, whose structure weights may have, too; None if it is not known.

    Raises:
        DataError: names the targets and the weights.
    """
    given = _keys(sample_weight)
    if given is None or y is None:
        return
    wanted = [_keys(y)] + ([] if outputs is None else [_keys(outputs)])
    by_name = isinstance(sample_weight, dict) and isinstance(outputs, list | tuple)
    if (given in wanted and not by_name) or (
        wanted == [None] and not isinstance(sample_weight, dict)
    ):
        return
    names = wanted[0]
    if by_name:
        raise DataError(
            f"sample_weight is {_told(sample_weight)}, and the model's outputs are"
            f" {_told(outputs)}: give targets and weights as lists in the order of the outputs"
        )
    if names is None:
        raise DataError(
            f"sample_weight is {_told(sample_weight)}, and the targets are one array: give one"
            " array of weights"
        )
    parts = [f"{name!r}: " if isinstance(y, dict) else "" for name in names]
    values = [
        "w" if name in given or isinstance(y, dict) != isinstance(sample_weight, dict) else "None"
        for name in names
    ]
    text = ", ".join(part + value for part, value in zip(parts, values, strict=True))
    example = f"{{{text}}}" if isinstance(y, dict) else f"[{text}]"
    raise DataError(
        f"sample_weight is {_told(sample_weight)}, and the targets are {_told(y)}: give one array"
        " for each target, and None for a target whose rows count alike, such as"
        f" sample_weight={example}"
    )


def _keys(nest: Nested) -> list | None:
    """Returns the names or numbers of the parts; None of one array, or of numbers in a list."""
    if isinstance(nest, dict):
        return sorted(nest)
    if isinstance(nest, list | tuple) and all(
        part is None or hasattr(part, "shape") for part in nest
    ):
        return list(range(len(nest)))
    return None


def _told(nest: Nested) -> str:
    keys = _keys(nest)
    if isinstance(nest, dict):
        return "a dict of " + ", ".join(map(repr, keys or ()))
    return f"a list of {len(keys)}" if keys is not None else "one array"
