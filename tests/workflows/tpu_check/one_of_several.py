"""A strategy that traces the program of one replica of several, as `TPUStrategy` does, without a TPU.

`TPUStrategy` traces the function of a replica once: the number of the replica is an argument of the program, and what the
replicas add up becomes an operation of the program. The strategy here does the same by XLA's own all-reduce, so that
plain TensorFlow lowers the whole program. It cannot be run: a CPU is one device.
"""

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.python.distribute.one_device_strategy import OneDeviceExtended


class OneOfSeveral(tf.distribute.Strategy):
    """Stands for a number of replicas, of which one is traced.

    Args:
        replicas: how many there are.

    Example:
        with OneOfSeveral(4).replica_context(number):
            step.gradients_and_update(batch, rows, True, None)
    """

    def __init__(self, replicas: int):
        super().__init__(_Extended(self, replicas))

    def replica_context(self, number: tf.Tensor) -> tf.distribute.ReplicaContext:
        """Returns the context to trace a replica's program in; `number` is a scalar int32."""
        return tf.distribute.ReplicaContext(self, number)


class _Extended(OneDeviceExtended):
    """Keeps variables on one device, and sums by an operation of XLA."""

    def __init__(self, strategy: OneOfSeveral, replicas: int):
        super().__init__(strategy, "/cpu:0")
        self._replicas = replicas

    @property
    def _num_replicas_in_sync(self) -> int:
        return self._replicas

    def _reduce_to(self, reduce_op, value, destinations, options):
        if reduce_op != tf.distribute.ReduceOp.SUM:
            raise NotImplementedError(f"{reduce_op}: the steps only add up")
        group = tf.constant([list(range(self._replicas))])
        return gen_xla_ops.xla_all_reduce(value, group, reduce_op="Add", mode="CrossReplica")
