"""Where a model lies that is named by `hf://`."""

from typing import TypeVar

from tfscale.errors import ConfigError, reason

Source = TypeVar("Source")
_PREFIX = "hf://"
_LEFT_OUT = ["*.bin", "*.gguf", "*.msgpack", "*.onnx*", "*.ot", "*.pt", "*.pth", "original/*"]
"""Weights in forms that are not read, which some models are published in too."""


def local_source(source: Source) -> Source | str:
    """Returns the folder of a model of Hugging Face's hub, fetched if it is not there; any other
    source as it is.

    Args:
        source: `hf://OWNER/NAME`, or `hf://OWNER/NAME@REVISION`, or anything else.

    Raises:
        ConfigError: the name is not of this form, or the model cannot be fetched.

    Example:
        local_source("hf://Qwen/Qwen3-0.6B")    # a folder of huggingface_hub's cache
    """
    if not isinstance(source, str) or not source.startswith(_PREFIX):
        return source
    from huggingface_hub import errors, snapshot_download

    name, _, revision = source.removeprefix(_PREFIX).partition("@")
    try:
        return str(snapshot_download(name, revision=revision or None, ignore_patterns=_LEFT_OUT))
    except errors.HFValidationError as error:
        raise ConfigError(f"{source}: expected {_PREFIX}OWNER/NAME") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(f"{source} cannot be fetched: {reason(error)}") from error
