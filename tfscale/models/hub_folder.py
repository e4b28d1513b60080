"""Options in the config.json of a Hugging Face folder that keras-hub does not read.

Its converters (`keras_hub/src/utils/transformers` of 0.32) read some options and take their own
defaults for others, so that a model would be loaded without a word and compute something else. Here
these are read, for keras-hub to be told. It reads the folders that tfscale writes, to compare them;
`tfscale.models.hub_loading` reads those of others.
"""

import os

from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import read_json

_SCALED_LINEARLY = ("mistral", "qwen2", "qwen3")
"""Types of models whose backbones take a `rope_scaling_factor`."""
_LLAMA_3 = {
    "factor": "rope_frequency_adjustment_factor",
    "low_freq_factor": "rope_low_freq_factor",
    "high_freq_factor": "rope_high_freq_factor",
    "original_max_position_embeddings": "rope_pretraining_sequence_length",
}
"""Names of Llama 3's scaling: in config.json -> of the backbone."""


def unread_options(folder: str) -> JsonObject:
    """Returns options of a backbone that keras-hub would leave at its own defaults.

    Args:
        folder: of Hugging Face; any other preset has none.

    Raises:
        ConfigError: config.json names something that the backbone cannot do.

    Example:
        unread_options("SmolLM2-135M")    # {"layer_norm_epsilon": 1e-5}
    """
    path = os.path.join(folder, "config.json")
    if not os.path.isfile(path):
        return {}
    described = read_json(path, "the model's config")
    if not isinstance(described, dict) or "model_type" not in described:
        return {}
    kind = str(described["model_type"])
    options: JsonObject = {}
    if "rms_norm_eps" in described:
        options["layer_norm_epsilon"] = described["rms_norm_eps"]
    # Gemma 3's stands in a part for each kind of layer, which keras-hub reads.
    if not kind.startswith("gemma3"):
        options |= _scaling(path, kind, described)
    return options


def _scaling(path: str, kind: str, described: JsonObject) -> JsonObject:
    """Returns how rotary positions are stretched."""
    scaling = described.get("rope_parameters") or described.get("rope_scaling") or {}
    if not isinstance(scaling, dict):
        raise ConfigError(f"{path} has rope_scaling={scaling!r}; expected an object")
    name = scaling.get("rope_type", scaling.get("type", "default"))
    if name == "default":
        return {}
    if name == "llama3" and kind == "llama":
        missing = [key for key in _LLAMA_3 if key not in scaling]
        if missing:
            raise ConfigError(f"{path} scales positions as Llama 3, without {missing[0]}")
        return {ours: scaling[theirs] for theirs, ours in _LLAMA_3.items()}
    if name == "linear" and kind in _SCALED_LINEARLY and "factor" in scaling:
        return {"rope_scaling_factor": scaling["factor"]}
    raise ConfigError(
        f"{path} scales positions by {name!r}, which keras-hub's {kind} does not; llama3 is for"
        f" llama, linear for {', '.join(_SCALED_LINEARLY)}"
    )
