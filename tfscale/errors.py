"""Errors that a user can cause and mend.

Each message says what was received, where, and what would be right. The command line prints it as
one `error: ...` line and exits with the class's code; anything that is not a `TfscaleError` is a
bug and keeps its traceback.
"""

import importlib.util


class TfscaleError(Exception):
    """A mistake that the user can mend: bad input, a damaged file, options that contradict each
    other."""

    exit_code = 2
    """The exit code of the command line."""


class ConfigError(TfscaleError):
    """An option that is unknown, out of range, or that contradicts another one."""


class DataError(TfscaleError):
    """Text, shards or a manifest that are missing, damaged, or do not belong together."""


class EngineError(TfscaleError):
    """A pipeline that failed on its workers. Nothing may be wrong with the input."""

    exit_code = 1


class TokenizerError(TfscaleError):
    """A tokenizer that cannot be trained, loaded, or that does not fit the data or the model."""


class CheckpointError(TfscaleError):
    """A checkpoint or run folder that is missing, damaged, or belongs to another model."""


class TrainingError(TfscaleError):
    """Training that cannot go on, such as a loss that is no longer finite."""


class WorkerLostError(TrainingError):
    """Another process of the same training went away. Nothing is wrong with the input: all
    are to start again."""

    exit_code = 1


class PromptError(TfscaleError):
    """A prompt that cannot be completed: empty where that is not allowed, or longer than the
    context."""


class OvertakenError(TfscaleError):
    """A text that cannot go on, because another one was begun on the same loaded model."""


class ExportError(TfscaleError):
    """An export that cannot be made, or a file that fails its parity check."""


def reason(error: BaseException) -> str:
    """Returns the first line of what a library's error says, cut to 200 characters; its class where
    it is silent."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return line if len(line) <= 200 else f"{line[:200]}..."


def check_range(condition: bool, name: str, value: object, expected: str) -> None:
    """Refuses an option's value.

    Raises:
        ConfigError: the condition does not hold; it says what was received and what was expected.
    """
    if not condition:
        raise ConfigError(f"{name}={value!r} is out of range; expected {expected}")


def check_installed(extra: str, *modules: str) -> None:
    """Refuses what needs packages that are not installed, before anything is done for it.

    Args:
        extra: the extra of tfscale that brings them.
        modules: names to import.

    Raises:
        ConfigError: names the first that is missing and how to get it.

    Example:
        check_installed("vectors", "gensim")
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ConfigError(
                f"this needs {module}, which is not installed: pip install 'tfscale[{extra}]'"
            )


NEEDS_TRAIN = (
    "this needs TensorFlow and Keras, which the base of tfscale leaves out: pip install"
    " 'tfscale[train]' (the base runs exported models: generate, fill, correct, predict, swap,"
    " benchmark, tfscale.device)"
)
