"""Raises errors from inside of compiled code as one line.

A dataset's map function cannot raise a Python exception when it runs: it fails with a text of ours
between two marks, which TensorFlow carries, in the midst of its own words, to whoever reads the
dataset, on whatever machine that runs.
"""

import contextlib
import re
from collections.abc import Callable, Iterator

import tensorflow as tf

from tfscale.errors import DataError, TfscaleError
from tfscale.training.fit.tensor_conditions import is_of_packages, refuse_condition

_BEGIN, _END = "<<tfscale: ", " :tfscale>>"
_TARGET_BEYOND = r"label value of (-?\d+) which is outside the valid range of \[0, (\d+)\)"
_ID_BEYOND = r"indices\[[^\]]*\] = (-?\d+) is not in \[0, (\d+)\)"


def refuse_where(wrong: tf.Tensor, describe: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Makes a dataset's map function fail; inside of `plain_errors` that is a DataError.

    Args:
        wrong: scalar bool.
        describe: gives the message, a scalar string; it is computed only where something is wrong.

    Returns:
        A tensor for `tf.control_dependencies`: what would fail by itself with the wrong values
            comes after it.
    """

    def fail() -> tf.Tensor:
        failure = tf.raw_ops.Assert(condition=tf.constant(False), data=[_BEGIN + describe() + _END])
        with tf.control_dependencies([failure]):
            return tf.constant(True)

    return tf.cond(wrong, fail, lambda: tf.constant(False))


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raises errors of data and network that compiled code meets as one line.

    Raises:
        DataError: what `refuse_where` said; a target or an id is beyond what the network has.
        ConfigError: code of the user's takes a tensor for a Python value.
        DataError: Keras cannot read the data.
        TfscaleError: as it was raised, without AutoGraph's "in user code" and the files that it
            lists.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        ours = re.search(f"{re.escape(_BEGIN)}(.*?){re.escape(_END)}", error.message, re.DOTALL)
        if ours is not None:  # TensorFlow escapes what it prints
            raise DataError(ours[1].replace("\\'", "'")) from None
        if found := re.search(_TARGET_BEYOND, error.message):
            raise DataError(
                f"a target is {found[1]}, and those of sparse cross-entropy are from 0 to below"
                f" {found[2]}, the outputs that the last layer has"
            ) from None
        if found := re.search(_ID_BEYOND, error.message):
            raise DataError(
                f"an id is {found[1]}, and the table that it is looked up in, such as an"
                f" Embedding's, has {found[2]} rows: ids are from 0 to below that"
            ) from None
        raise
    except ValueError as error:
        _refuse_unreadable(str(error))
        if (text := _without_frames(error)) is not None:
            raise type(error)(text) from None
        raise
    except (TypeError, RuntimeError) as error:
        # The latter is Keras's, about a model that it could not build.
        refuse_condition(error)
        raise
    except TfscaleError as error:
        if (text := _without_frames(error)) is not None:
            raise type(error)(text) from None
        raise


def _without_frames(error: Exception) -> str | None:
    """Returns the words of an error to which AutoGraph has added the files that it came through.

    None where there are no such files, or where one is a user's, who looks for it there.
    """
    text = str(error)
    if not text.startswith("in user code:"):
        return None
    files = re.findall(r'^    File "([^"]+)", line', text, re.MULTILINE)
    if not isinstance(error, TfscaleError) and not all(map(is_of_packages, files)):
        return None
    return text.rpartition(f"{type(error).__name__}: ")[2].strip()


def _refuse_unreadable(message: str) -> None:
    """Refuses data of which Keras's data adapters print every number.

    Raises:
        DataError: names the types, or the argument.
    """
    if message.startswith("Unrecognized data type"):
        kind = message.rpartition("<class '")[2].rpartition("'>")[0]
        raise DataError(
            f"no batches can be made of x ({kind}) and y: give NumPy arrays, tensors, a"
            " tf.data.Dataset, a generator or a keras.utils.PyDataset; a list holds several inputs"
            " or outputs, an array each, so a list of numbers is given as np.array(numbers)"
        ) from None
    if found := re.match(r"You should provide one `(\w+)` array per output", message):
        raise DataError(
            f"{found[1]} and y differ in structure: give one array for each output that y has, such"
            " as np.ones(N) where all rows count alike, or a single array for all outputs"
        ) from None
