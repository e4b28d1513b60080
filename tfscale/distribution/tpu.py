"""TPUStrategy for Colab and TPU VMs, with the checks that TensorFlow itself leaves out.

Without a TPU TensorFlow waits for Google's metadata server for minutes, or fails deep inside C++;
so what can be seen from outside is looked at first. Nothing here was run on a TPU; see
"TPU" in docs/clusters.md.
"""

import glob
import importlib.metadata
import os

import tensorflow as tf

from tfscale.errors import ConfigError

DEVICE_FILES = ("/dev/accel*", "/dev/vfio/[0-9]*")
"""The device files of a TPU VM and of a Colab TPU runtime."""
INSTALL = (
    'pip install tensorflow-tpu==2.20.0 "libtpu>=0.0.14,<0.0.32", into an environment without'
    " tensorflow"
)


def tpu_strategy(name: str | None = None) -> tf.distribute.Strategy:
    """Connects to a TPU and makes its strategy.

    Args:
        name: "local" for the TPU of this machine, or the name or gRPC address of another; by
            default what the environment variable TPU_NAME says, else "local".

    Raises:
        ConfigError: TensorFlow has no TPU kernels, there is no TPU, or it does not answer.

    Example:
        strategy = tpu_strategy("local")
    """
    name = name or os.environ.get("TPU_NAME") or "local"
    if not has_tpu_wheel():
        raise ConfigError(
            f"a TPU needs the wheel tensorflow-tpu, and here is TensorFlow {tf.__version__} without"
            f" TPU kernels; {INSTALL}"
        )
    if name == "local" and not tpu_device_files():
        raise ConfigError(
            f"this machine has no TPU (none of {', '.join(DEVICE_FILES)}); choose a TPU runtime, or"
            " give its name in TPU_NAME"
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        if not tf.config.list_logical_devices("TPU"):
            raise ConfigError(
                f"TPU {name!r} was initialized and shows no device; restart the runtime"
            )
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, IndexError, tf.errors.OpError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"TPU {name!r} cannot be used ({first[:200]}); is it running, and is libtpu below"
            " 0.0.32?"
        ) from error


def tpu_device_files() -> list[str]:
    """Returns the device files of this machine's TPU chips."""
    return sorted(path for pattern in DEVICE_FILES for path in glob.glob(pattern))


def has_tpu_wheel() -> bool:
    """Returns whether TensorFlow comes from the wheel that has TPU kernels."""
    try:
        importlib.metadata.version("tensorflow-tpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
