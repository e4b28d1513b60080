"""The meaning of a model's outputs: their names, whether they are probabilities, logits or other
numbers, the names of classes, and what would be right.

Shapes: N rows, C classes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tfscale.compat.keras import KerasTree
from tfscale.device.signature import ElementType, Gives, OutputTensor
from tfscale.errors import ConfigError, DataError
from tfscale.exporting.samples import clean_name, numbered
from tfscale.models.outputs import activation_of, last_activation

Labels = Sequence[str] | Mapping[str, Sequence[str]]
"""Names of classes, of the one output or by the output's name."""
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Output:
    """An output of a model on all samples.

    Attributes:
        tensor: what the file gives.
        values: what the model gives (N, ...).
        targets: what is right; None if it was not given.
    """

    tensor: OutputTensor
    values: np.ndarray
    targets: np.ndarray | None

    @property
    def is_exact(self) -> bool:
        """Whether the values are whole numbers or truth values, which are equal or not."""
        return self.tensor.dtype != "float32"

    @property
    def has_classes(self) -> bool:
        """Whether the largest of the last axis is chosen."""
        return self.tensor.gives in ("probabilities", "logits")

    @property
    def has_yes_and_no(self) -> bool:
        """Whether each value decides by itself."""
        return self.tensor.gives in ("probability", "logit")


def output_names(network: keras.Model, outputs: KerasTree) -> list[str]:
    """Returns the names of the outputs in the file, in the order of the flattened outputs.

    They are the keys of a dict, or the names of the last layers where somebody chose these.
    """
    paths = [path for path, _ in keras.tree.flatten_with_path(outputs)]
    if isinstance(outputs, Mapping):
        return numbered(["_".join(map(str, path)) for path in paths], "output")
    if len(paths) == 1:
        return ["output"]
    layers = _last_layers(network, len(paths))
    return numbered([_chosen_name(layer) for layer in layers], "output")


def check_outputs(network: keras.Model, outputs: KerasTree, rows: int) -> None:
    """Refuses outputs that no file can give, after a first call.

    Args:
        network: the network.
        outputs: what it gave.
        rows: rows of the call.

    Raises:
        ConfigError: says which output.
    """
    leaves = keras.tree.flatten(outputs)
    if not leaves or any(not hasattr(leaf, "shape") for leaf in leaves):
        raise ConfigError(f"model {network.name!r} gives no tensor; received {outputs!r:.80}")
    for place, leaf in enumerate(leaves):
        which = f"output {place} of model {network.name!r}"
        if not len(leaf.shape) or leaf.shape[0] != rows:
            raise ConfigError(
                f"{which} has shape {tuple(leaf.shape)} for {rows} rows; each output must have one"
                " row for each row of the inputs"
            )
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        if dtype == "string":
            raise ConfigError(f"{which} is of text; give the number of the class, and labels=")


def outputs_of(
    network: keras.Model,
    values: Mapping[str, np.ndarray],
    batch: int,
    *,
    labels: Labels,
    targets: KerasTree | None,
) -> list[Output]:
    """Returns the outputs of a network with what they mean.

    Args:
        network: the network.
        values: output name -> what the network gives (N, ...).
        batch: rows of a call of the file.
        labels: names of classes.
        targets: what is right.

    Raises:
        ConfigError: labels for an output that has none, or another number of them.
        DataError: targets that do not fit an output.
    """
    layers = _last_layers(network, len(values))
    named = _labels_by_name(labels, list(values))
    right = _targets_by_name(targets, list(values))
    outputs = []
    for (name, array), layer in zip(values.items(), layers, strict=True):
        activation = _activation(network, layer, len(values))
        own = np.asarray(right[name]) if name in right else None
        gives = _gives(name, array, activation, bool(named.get(name)), own)
        tensor = OutputTensor(
            name=name,
            shape=[batch, *array.shape[1:]],
            dtype=_output_type(array),
            gives=gives,
            labels=list(named.get(name, ())),
        )
        _check_labels(tensor)
        outputs.append(Output(tensor, array, None if own is None else _fitted(tensor, array, own)))
    return outputs


def _output_type(array: np.ndarray) -> ElementType:
    return {"f": "float32", "i": "int32", "b": "bool"}[array.dtype.kind]  # type: ignore[return-value]


def _last_layers(network: keras.Model, count: int) -> list[keras.layers.Layer | None]:
    """Returns the layer that each output comes from, as far as a functional model says it."""
    by_name = {layer.name: layer for layer in network.layers}
    names = getattr(network, "output_names", None) or []
    return [by_name.get(name) for name in names] if len(names) == count else [None] * count


def _chosen_name(layer: keras.layers.Layer | None) -> str:
    """Returns the name that somebody gave a layer; "" for Keras's own, which has a number."""
    if layer is None:
        return ""
    own = re.sub(r"_\d+$", "", layer.name).replace("_", "") == type(layer).__name__.lower()
    return "" if own else layer.name


def _activation(network: keras.Model, layer: keras.layers.Layer | None, outputs: int) -> str:
    if layer is not None:
        return activation_of(layer)
    return last_activation(network) if outputs == 1 else ""


def _gives(
    name: str, values: np.ndarray, activation: str, has_labels: bool, targets: np.ndarray | None
) -> Gives:
    """Returns what the values of an output are."""
    if values.dtype.kind != "f":
        return "values"
    classes = values.shape[-1] if values.ndim > 1 else 1
    if activation == "softmax" and classes == 1:
        raise ConfigError(
            f"output {name!r} is a softmax of one value, which is always 1; a sigmoid says how"
            " likely one of two classes is"
        )
    inside = bool(values.min() >= 0 and values.max() <= 1)
    sums_to_one = classes > 1 and np.abs(values.sum(-1) - 1).max() < _SUM_TOLERANCE
    if inside and sums_to_one and activation != "sigmoid":
        return "probabilities"
    if inside and activation == "sigmoid":
        return "probability"
    if not has_labels and not _are_classes(values, targets):
        return "values"
    if inside and activation != "linear":
        return "probability"
    return "logit" if classes == 1 else "logits"


def _are_classes(values: np.ndarray, targets: np.ndarray | None) -> bool:
    """Returns whether targets are numbers of classes, or ones and zeros."""
    if targets is None or not targets.size:
        return False
    if values.ndim == 1 or values.shape[-1] == 1:
        return bool(np.isin(targets, (0, 1)).all())
    if targets.shape == values.shape:
        return bool(np.isin(targets, (0, 1)).all() and (targets.sum(-1) == 1).all())
    return targets.dtype.kind in "iu"


def _labels_by_name(labels: Labels, names: list[str]) -> dict[str, Sequence[str]]:
    if not labels:
        return {}
    if isinstance(labels, Mapping):
        cleaned = {clean_name(str(name)): own for name, own in labels.items()}
        if unknown := set(cleaned) - set(names):
            raise ConfigError(
                f"labels for {', '.join(sorted(unknown))}, and the outputs are {', '.join(names)}"
            )
        return cleaned
    if len(names) > 1:
        raise ConfigError(
            f"the model has {len(names)} outputs: give labels as a dict, with names among"
            f" {', '.join(names)}"
        )
    return {names[0]: labels}


def _check_labels(tensor: OutputTensor) -> None:
    labels = tensor.labels
    if not labels:
        return
    if tensor.gives == "values" or len(tensor.shape) > 2:
        raise ConfigError(
            f"labels are for outputs of classes, float (B, C), and {tensor.name!r} is"
            f" {tensor.dtype} of shape {tuple(tensor.shape)}"
        )
    if len(set(labels)) < len(labels):
        raise ConfigError(f"labels: a name is there twice; received {', '.join(labels)}")
    if len(labels) != tensor.classes:
        raise ConfigError(
            f"output {tensor.name!r} tells {tensor.classes} classes apart, and there are"
            f" {len(labels)} labels"
        )


def _targets_by_name(targets: KerasTree | None, names: list[str]) -> dict[str, np.ndarray]:
    if targets is None:
        return {}
    if isinstance(targets, Mapping):
        cleaned = {clean_name(str(name)): own for name, own in targets.items()}
        if unknown := set(cleaned) - set(names):
            raise DataError(
                f"targets for {', '.join(sorted(unknown))}, and the outputs are {', '.join(names)}"
            )
        return cleaned
    if len(names) == 1:
        return {names[0]: targets}
    if not isinstance(targets, tuple | list) or len(targets) != len(names):
        raise DataError(
            f"the model has {len(names)} outputs: give as many targets, or a dict with names among"
            f" {', '.join(names)}"
        )
    return dict(zip(names, targets, strict=True))


def _fitted(tensor: OutputTensor, values: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns targets in the shape in which the output decides: classes without the last axis, or
    as many numbers as the output has."""
    what = f"targets of output {tensor.name!r}"
    classes = tensor.gives in ("probabilities", "logits")
    if targets.dtype.kind not in "fiub":
        raise DataError(f"{what} are {targets.dtype}; expected numbers")
    if classes and targets.shape == values.shape and values.shape[-1] > 1:
        return targets.argmax(-1)
    shape = values.shape[:-1] if classes else values.shape
    if targets.size != int(np.prod(shape)) or len(targets) != len(values):
        raise DataError(f"{what} have shape {targets.shape}; expected {shape}")
    targets = targets.reshape(shape)
    if classes and targets.max() >= values.shape[-1]:
        raise DataError(
            f"{what} go up to {targets.max()}, and it tells {values.shape[-1]} classes apart, 0 to"
            f" {values.shape[-1] - 1}"
        )
    return targets
