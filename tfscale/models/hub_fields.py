"""`HubFields`: the entries of a config.json of Hugging Face's transformers, each asked for by name
and checked, so that none that changes what a model computes is passed over.

What transformers itself leaves unread of the file is left unread here.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping

from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject, JsonValue
from tfscale.files.paths import read_json

FILE = "config.json"
FULL, SLIDING = "full_attention", "sliding_attention"
"""Kinds of layers, in transformers' words: with all tokens in sight, and with a window."""
_NEEDED = object()
_LARGEST = 1 << 31
"""Whole numbers are below; every size that a model can have is."""
_ROUNDED = ("quantization_config", "compression_config")
"""Entries of a model whose weights are rounded; the second is the first one's earlier name."""
_LLAMA_3 = {
    "low_freq_factor": "rope_low_frequency_factor",
    "high_freq_factor": "rope_high_frequency_factor",
}
"""Names of Llama 3's scaling: in config.json -> of `TransformerConfig`."""


class HubFields:
    """The entries of one config.json, or of an object in it.

    Args:
        content: the object.
        path: of the file, for messages.
        kind: the type of model, for messages.
        inside: whether the model is a part of the folder's, with others such as one of pictures.

    Attributes:
        content: the object.
        path: of the file.
        kind: the type of model.
        inside: whether the model is a part of the folder's.
    """

    def __init__(
        self, content: Mapping[str, JsonValue], path: str, kind: str, inside: bool = False
    ):
        self.content, self.path, self.kind, self.inside = content, path, kind, inside

    def get(self, name: str, default: object = None) -> JsonValue:
        """Returns an entry as it is; `default` where there is none."""
        return self.content.get(name, default)

    def whole(self, name: str, default: object = _NEEDED) -> int:
        """Returns a whole number from 1 on.

        Args:
            name: of the entry.
            default: for a file without the entry, or with null; it must have one if left out.
        """
        value = self._entry(name, default)
        whole = value if type(value) is not float or value % 1 else int(value)
        if type(whole) is not int or not 0 < whole < _LARGEST:
            raise self._wrong(name, value, "a whole number from 1 on")
        return whole

    def number(self, name: str, default: object = _NEEDED) -> float:
        """Returns a number above 0; `default` for a file without the entry, or with null."""
        value = self._entry(name, default)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise self._wrong(name, value, "a number above 0")
        return float(value)

    def cap(self, name: str, default: float = 0.0) -> float:
        """Returns the bound of a soft cap; 0 for null, and `default` for a file without it."""
        if name in self.content and self.content[name] is None:
            return 0.0
        return self.number(name, default) if name in self.content or default else 0.0

    def window(self, default: int = 0) -> int:
        """Returns `sliding_window`; 0 for null, and `default` for a file without it."""
        if self.content.get("sliding_window", default) in (None, 0):
            return 0
        return self.whole("sliding_window", default)

    def flag(self, name: str, default: bool = False) -> bool:
        """Returns true or false; `default` for a file without the entry, or with null."""
        value = self._entry(name, default)
        if type(value) is not bool:
            raise self._wrong(name, value, "true or false")
        return value

    def expect(self, name: str, allowed: Iterable[object], default: object) -> None:
        """Refuses a value that the network could not compute with.

        Args:
            name: of the entry.
            allowed: the values that are taken.
            default: the value of a file without the entry.
        """
        value = self.content.get(name, default)
        choices = list(allowed)
        if not any(type(value) is type(one) and value == one for one in choices):
            shown = " or ".join(json.dumps(one) for one in choices)
            raise self._wrong(name, value, f"{shown}, which is what tfscale computes")

    def inner(self, name: str) -> "HubFields":
        """Returns an object in the file, empty where there is none."""
        return self.of(self._object(name))

    def of(self, content: Mapping[str, JsonValue]) -> "HubFields":
        """Returns other entries of the same file."""
        return HubFields(content, self.path, self.kind)

    def check_causal(self) -> None:
        """Refuses a model whose tokens see those after them, as some do that make vectors."""
        self.expect("is_causal", (True,), True)

    def _object(self, name: str) -> Mapping[str, JsonValue]:
        value = self.content.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong(name, value, "an object")
        return value

    def rope(self, base: float, fraction: bool = False) -> JsonObject:
        """Returns the options of rotary positions.

        Args:
            base: of a file that names none.
            fraction: whether the architecture can turn a part of a head's numbers.

        Raises:
            ConfigError: they are stretched in another way than by linear or Llama 3's scaling.
        """
        new, old = self._object("rope_parameters"), self._object("rope_scaling")
        # As transformers does, which takes the older entry where a file has both.
        theta = (old or new).get("rope_theta", self.get("rope_theta", base))
        if old and new and _scaling(old) != _scaling(new):
            raise self._wrong("rope_scaling", old, "what rope_parameters beside it says")
        if new.get("rope_theta", theta) != theta:
            expected = f"{json.dumps(theta)}, which transformers reads from the entries beside it"
            raise self._wrong("rope_parameters", new, f"a rope_theta of {expected}")
        parameters = self.of({**(old or new), "rope_theta": theta})
        share = parameters.get("partial_rotary_factor", self.get("partial_rotary_factor", 1.0))
        part = self.of({"partial_rotary_factor": share}).number("partial_rotary_factor", 1.0)
        if part > 1 or (part < 1 and not fraction):
            expected = "a part above 0 to 1" if fraction else "1, which is what tfscale computes"
            raise self._wrong("partial_rotary_factor", share, expected)
        return {
            "rope_base": parameters.number("rope_theta"),
            "rope_fraction": part,
            **parameters._stretched(self.get("original_max_position_embeddings")),
        }

    def _stretched(self, original: JsonValue) -> JsonObject:
        """Returns the scaling that entries of rotary positions name."""
        name = self.get("rope_type", self.get("type", "default"))
        if name == "default":
            if nested := [key for key, value in self.content.items() if isinstance(value, dict)]:
                raise self._wrong(f"rope_parameters.{nested[0]}", self.get(nested[0]), "a number")
            return {}
        if name not in ("linear", "llama3"):
            expected = "default, linear or llama3; other ways to stretch positions are not computed"
            raise self._wrong("rope_type", name, expected)
        scaled: JsonObject = {"rope_scaling": name, "rope_factor": self.number("factor")}
        if name == "llama3":
            length = "original_max_position_embeddings"
            scaled |= {ours: self.number(theirs) for theirs, ours in _LLAMA_3.items()}
            scaled["rope_original_length"] = self.whole(length)
            if original not in (None, scaled["rope_original_length"]):
                raise self._wrong(length, original, f"{scaled['rope_original_length']} as in it")
        return scaled

    def layer_kinds(self, layers: int, default: Iterable[str]) -> list[str]:
        """Returns which layers have a window.

        Args:
            layers: of the model.
            default: the kinds of a file without `layer_types`.
        """
        kinds = self.content.get("layer_types")
        if kinds is None:
            return list(default)
        known = isinstance(kinds, list) and all(kind in (FULL, SLIDING) for kind in kinds)
        if not known or len(kinds) != layers:
            raise self._wrong("layer_types", kinds, f"{layers} of {FULL} and {SLIDING}")
        return kinds

    def windows(self, kinds: list[str], window: int) -> JsonObject:
        """Returns the options of layers some of which have a window.

        Args:
            kinds: of each layer.
            window: in tokens; 0 where the file names none.
        """
        if SLIDING not in kinds:
            return {"attention_window": 0}
        if not window:
            raise self._wrong("sliding_window", self.get("sliding_window"), "a number of tokens")
        every = _every([kind == FULL for kind in kinds])
        if every is None:
            expected = "a window in every layer, or in all but every n-th"
            raise self._wrong("layer_types", kinds, f"{expected}, which is what tfscale computes")
        return {"attention_window": window, "global_every": every}

    def every(self, name: str, layers: list[bool]) -> int:
        """Returns n where every n-th layer is one; 0 where none is.

        Args:
            name: of the entry that says so.
            layers: which are.
        """
        every = _every(layers)
        if every is None:
            raise self._wrong(name, self.get(name), "every n-th layer, or none")
        return every

    def _entry(self, name: str, default: object) -> JsonValue:
        value = self.content.get(name)
        if value is None:
            if default is _NEEDED:
                raise ConfigError(f"{self.path} has no {name}, which a {self.kind} needs")
            return default
        return value

    def _wrong(self, name: str, value: JsonValue, expected: str) -> ConfigError:
        shown = json.dumps(value)
        shown = shown if len(shown) < 80 else f"{shown[:77]}..."
        return ConfigError(f"{self.path} has {name}={shown} in a {self.kind}; expected {expected}")


def read_fields(folder: str) -> HubFields | None:
    """Returns the entries of the config.json of a Hugging Face folder; None for another folder, or
    none at all.

    Raises:
        ConfigError: the weights are stored in a way that is not read.
        DataError: the file is not JSON.
    """
    path = os.path.join(folder, FILE)
    content = read_json(path, "the model's config") if os.path.isfile(path) else None
    if not isinstance(content, dict) or "model_type" not in content:
        return None
    for name in _ROUNDED:
        if content.get(name) is not None:
            raise ConfigError(
                f"{path} has a {name}: its weights are rounded already; weights in float32,"
                " float16 or bfloat16 are read, which a model is published with too"
            )
    fields = HubFields(content, path, str(content["model_type"]))
    fields.check_causal()
    return fields


def _scaling(parameters: Mapping[str, JsonValue]) -> JsonObject:
    """Returns entries of rotary positions without their base, the name of the way as it is now."""
    name = parameters.get("rope_type", parameters.get("type", "default"))
    left = ("type", "rope_theta")
    return {k: v for k, v in parameters.items() if k not in left} | {"rope_type": name}


def _every(layers: list[bool]) -> int | None:
    """Returns n where every n-th of layers is one, counted from 1, and 0 where none is."""
    if True not in layers:
        return 0
    every = layers.index(True) + 1
    same = layers == [number % every == 0 for number in range(1, len(layers) + 1)]
    return every if same and every > 1 else None
