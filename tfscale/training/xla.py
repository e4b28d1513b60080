"""Decides whether a train step is compiled by XLA.

On a CPU, XLA is what is fast in float32. In bfloat16 it depends on the processor and the sizes, so
a short trial decides, see `tfscale.training.speed_trial`.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfscale.compat.tensorflow_products import onednn_products
from tfscale.config import NetworkConfig, TrainConfig
from tfscale.errors import ConfigError
from tfscale.training.speed_trial import (
    BFLOAT16,
    BFLOAT16_XLA,
    BFLOAT16_XLA_ALONE,
    FLOAT32,
    Product,
    trial,
)

GAIN = 0.9
"""The share of the time below which another way is taken, or named: what is left is a gain of
10 %."""
_STEP_OPERATIONS = 1e9
"""Operations of a step from which on a trial is made. Below that a step takes milliseconds, in
which no product counts, and a trial could say this today and that tomorrow."""
_RUN_OPERATIONS = 1e13
"""Operations of a run, about two minutes, from which on another precision is worth a trial."""


@dataclass(frozen=True)
class Way:
    """The way in which train steps are computed.

    Attributes:
        xla: whether forward and backward are compiled by XLA.
        notes: lines that say why, and what would be faster; none where nothing was tried.
        tried: whether a trial chose it, so that another one could choose otherwise.
    """

    xla: bool
    notes: tuple[str, ...] = ()
    tried: bool = False


@functools.cache
def has_xla() -> bool:
    """Returns whether TensorFlow has XLA for its device; the TPU wheel has none for the CPU."""
    try:
        tf.function(tf.identity, jit_compile=True)(0.0)
    except tf.errors.NotFoundError:
        return False
    return True


def on_cpu() -> bool:
    """Returns whether TensorFlow sees neither GPU nor TPU."""
    return not any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))


def compiled_by_xla(function: Callable, autograph: bool = True) -> Callable:
    """Returns a function that XLA compiles for training.

    On a CPU oneDNN multiplies its bfloat16 matrices where it can, see
    `tfscale.compat.tensorflow_products`.

    Args:
        function: what to compile; its arguments are tensors.
        autograph: whether its conditions and loops are rewritten.
    """

    def traced(*arguments):
        with onednn_products():
            return function(*arguments)

    return tf.function(traced, jit_compile=True, autograph=autograph)


def use_xla(config: TrainConfig, model: NetworkConfig) -> bool:
    """Returns whether forward and backward can and, by the options, should be compiled by XLA.

    `auto` spares recurrent layers on a GPU, which use cuDNN but where documents are kept apart, and
    takes what there is.

    Raises:
        ConfigError: `train.xla` is "on", and there is no XLA for this device.
    """
    if tf.config.list_logical_devices("TPU"):  # TPUStrategy compiles all that its replicas run.
        return False
    if config.xla == "auto":
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        return has_xla() and (model.xla_on_gpu or config.document_mask or not on_gpu)
    if config.xla == "on" and not has_xla():
        raise ConfigError(
            f"train.xla='on', and TensorFlow {tf.__version__} here has no XLA for this device (the"
            " TPU wheel has none for the CPU); take auto or off"
        )
    return config.xla == "on"


def chosen_way(config: TrainConfig, model: NetworkConfig, replicas: int) -> Way:
    """Returns the way in which a run computes its steps on this machine.

    With `train.xla=auto` on a CPU a trial chooses it for bfloat16. Recurrent layers are always
    compiled: without XLA each of their steps is a dozen small operations.

    Args:
        config: the options of training.
        model: the architecture, with its vocabulary size.
        replicas: those that share a batch.

    Raises:
        ConfigError: `train.xla` is "on", and there is no XLA for this device.
    """
    xla = use_xla(config, model)
    if not xla or config.xla != "auto" or not on_cpu() or model.sequential:
        return Way(xla)
    rows = config.global_batch_size // (replicas * config.micro_batches)
    products = list(model.matmul_shapes(max(1, rows) * model.sequence_length))
    if not worth_a_trial(products):
        return Way(xla)
    if config.precision == "mixed_bfloat16":
        return _for_bfloat16(products)
    if config.precision == "float32" and _is_long(config, products):
        return Way(xla, _for_float32(products))
    return Way(xla)


def worth_a_trial(products: Sequence[Product]) -> bool:
    """Returns whether a step with these products takes long enough for a trial to tell."""
    return _step_operations(products) >= _STEP_OPERATIONS


def bfloat16_wants_xla(products: Sequence[Product], fixed: bool = True) -> bool:
    """Returns whether a step in bfloat16 with these products is faster with XLA, by a trial.

    Args:
        products: those of a forward pass.
        fixed: whether all batches have a known number of rows.
    """
    compiled = BFLOAT16_XLA if fixed else BFLOAT16_XLA_ALONE
    seconds = trial(products, (BFLOAT16, compiled))
    return seconds[BFLOAT16] > GAIN * seconds[compiled]


def _for_bfloat16(products: Sequence[Product]) -> Way:
    seconds = trial(products, (FLOAT32, BFLOAT16, BFLOAT16_XLA))
    share = seconds[BFLOAT16] / seconds[BFLOAT16_XLA]
    xla = share > GAIN
    tried = f"on this processor layers in bfloat16 take {share:.2f} of the time without XLA"
    notes = [f"{tried}: compiled by XLA" if xla else f"{tried}, by oneDNN: not compiled by XLA"]
    other = seconds[FLOAT32] / seconds[BFLOAT16_XLA if xla else BFLOAT16]
    if other < GAIN:
        notes.append(_faster("float32", other, "bfloat16"))
    return Way(xla, tuple(notes), tried=True)


def _for_float32(products: Sequence[Product]) -> tuple[str, ...]:
    seconds = trial(products, (FLOAT32, BFLOAT16, BFLOAT16_XLA))
    share = min(seconds[BFLOAT16], seconds[BFLOAT16_XLA]) / seconds[FLOAT32]
    return (_faster("mixed_bfloat16", share, "float32"),) if share < GAIN else ()


def _faster(precision: str, share: float, than: str) -> str:
    return (
        f"{precision} would be faster on this processor, where layers take {share:.2f} of their"
        f" time in {than}: --train.precision {precision}"
    )


def _step_operations(products: Sequence[Product]) -> float:
    """Multiplications and additions of forward and backward pass."""
    return sum(6.0 * m * k * n for m, k, n in products)


def _is_long(config: TrainConfig, products: Sequence[Product]) -> bool:
    if config.minutes is not None:
        return config.minutes >= 2
    steps = config.total_steps * config.micro_batches
    return steps * _step_operations(products) >= _RUN_OPERATIONS
