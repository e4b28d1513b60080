"""Where a model lies that is named by `hf://`, and whether it is a whole one."""

import os
from typing import TypeVar

from tfscale.errors import ConfigError, reason

Source = TypeVar("Source")
_PREFIX = "hf://"
_ADAPTER = "adapter_config.json"
_LEFT_OUT = ["*.bin", "*.gguf", "*.msgpack", "*.onnx*", "*.ot", "*.pt", "*.pth", "original/*"]
"""Weights in forms that are not read, which some models are published in too."""


def local_source(source: Source) -> Source | str:
    """Returns the folder of a model of Hugging Face's hub, fetched if it is not there; any other
    source as it is.

    Args:
        source: `hf://OWNER/NAME`, or `hf://OWNER/NAME@REVISION`, or anything else.

    Raises:
        ConfigError: the name is not of this form, the model cannot be fetched, or the folder is
            that of an adapter, or one that holds others.

    Example:
        local_source("hf://Qwen/Qwen3-0.6B")    # a folder of huggingface_hub's cache
    """
    if not isinstance(source, str):
        return source
    if not source.startswith(_PREFIX):
        _check_whole(source)
        return source
    from huggingface_hub import errors, snapshot_download

    name, _, revision = source.removeprefix(_PREFIX).partition("@")
    try:
        folder = snapshot_download(name, revision=revision or None, ignore_patterns=_LEFT_OUT)
        _check_whole(folder)
        return str(folder)
    except errors.HFValidationError as error:
        raise ConfigError(f"{source}: expected {_PREFIX}OWNER/NAME") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(f"{source} cannot be fetched: {reason(error)}") from error


def _check_whole(folder: str) -> None:
    """Refuses a folder that is not that of one whole model."""
    if os.path.exists(os.path.join(folder, _ADAPTER)):
        raise ConfigError(
            f"{folder} has {_ADAPTER}: it holds an adapter, such as LoRA, for weights that stand"
            " elsewhere; merge them (peft: merge_and_unload) and save the whole model"
        )
    snapshots = os.path.join(folder, "snapshots")
    if os.path.isdir(snapshots) and not os.path.exists(os.path.join(folder, "config.json")):
        named = sorted(os.listdir(snapshots))
        raise ConfigError(
            f"{folder} is a folder of Hugging Face's cache; give one of its snapshots"
            + (f", such as {os.path.join(snapshots, named[0])}" if named else ", which it lacks")
        )
