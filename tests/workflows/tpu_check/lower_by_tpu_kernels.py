"""A script for a Python with the wheel tensorflow-tpu: the train step of each family as a TPU would see it.

    TPU_SKIP_MDS_QUERY=1 python tests/workflows/tpu_check/lower_by_tpu_kernels.py FOLDER REPLICAS

Plain TensorFlow lowers a step by the XLA kernels of a CPU. This wheel has those of a TPU, but compiles without a TPU only
what holds no variables. So the step's own forward and backward pass, its mean and its clipping run on weights that are
arguments; between them stands the sum over replicas that TPUStrategy would insert; and the optimizer is AdamW in the
form without variables, which Keras keeps from its TensorFlow backend.
"""

import os
import sys

import keras
import tensorflow as tf
from keras.src.optimizers.base_optimizer import BaseOptimizer
from tensorflow.python.tpu.ops import tpu_ops

from tfscale.config import TrainConfig
from tfscale.config.models import network_families
from tfscale.models import build_network
from tfscale.training.step import TrainStep
from tfscale.workflows.tpu_check.lowering import find

ROWS, LENGTH = 16, 16
TRAIN = TrainConfig(global_batch_size=4 * ROWS, precision="mixed_bfloat16", micro_batches=2)


class StatelessAdamW(keras.optimizers.AdamW):
    """AdamW with the backend-neutral methods that Keras's TensorFlow backend takes away."""

    stateless_apply = BaseOptimizer.stateless_apply
    assign, assign_add, assign_sub = (
        BaseOptimizer.assign,
        BaseOptimizer.assign_add,
        BaseOptimizer.assign_sub,
    )
    _var_key = BaseOptimizer._var_key
    _apply_weight_decay = BaseOptimizer._apply_weight_decay
    _backend_update_step = BaseOptimizer._backend_update_step


def train_step(config, replicas):
    """The step of one of several replicas as a function of tensors alone, and what it takes."""
    network = build_network(config, TRAIN.precision, seed=0)
    optimizer = StatelessAdamW(1e-3)
    step = TrainStep(
        network, optimizer, TRAIN.compile_options(xla=False), tf.distribute.get_strategy()
    )
    count = len(network.trainable_variables)
    specs = [
        tf.TensorSpec(v.shape, v.dtype)
        for v in [*network.trainable_variables, *optimizer.variables]
    ]
    micro = tf.TensorSpec((TRAIN.micro_batches, ROWS // TRAIN.micro_batches, LENGTH), tf.int32)
    scale = 1.0 / (ROWS * LENGTH * replicas)

    def function(*arguments):
        weights, state, (ids, targets) = arguments[:count], arguments[count:-2], arguments[-2:]
        sums = [tf.zeros_like(w) for w in weights] + [tf.zeros(()), tf.zeros(())]
        for index in tf.range(TRAIN.micro_batches):
            draw = tf.cast(index, tf.int64)
            part = step._micro_batch(
                ids[index],
                targets[index],
                tf.ones(ids.shape[1:]),
                tf.constant(scale),
                draw,
                list(weights),
            )
            sums = [a + b for a, b in zip(sums, part, strict=True)]
        if replicas > 1:
            sums = [tpu_ops.cross_replica_sum(x, [list(range(replicas))]) for x in sums]
        *gradients, nll, tokens = sums
        factor, nll, *rest = step._mean_factor(gradients, nll, tokens, tf.constant(scale))
        gradients = [gradient * factor for gradient in gradients]
        new_weights, new_state = optimizer.stateless_apply(list(state), gradients, list(weights))
        return [nll, *rest, *map(tf.convert_to_tensor, [*new_weights, *new_state])]

    return tf.function(function, jit_compile=True), [*specs, micro, micro]


def main():
    folder, replicas = sys.argv[1], int(sys.argv[2])
    for family, kind in network_families().items():
        config = kind(vocabulary_size=50, sequence_length=LENGTH, hidden_dim=16, dropout=0.1)
        function, arguments = train_step(config, replicas)
        representation = function.experimental_get_compiler_ir(*arguments)
        findings = find(representation(stage="stablehlo", platform_name="TPU"))
        assert not findings.dynamic and not findings.float64 and not findings.custom_calls, (
            family,
            findings,
        )
        with open(os.path.join(folder, f"{family}.hlo.pb"), "wb") as file:
            file.write(representation(stage="hlo_serialized", platform_name="TPU"))
        print(f"{family} lowered by the TPU kernels of TensorFlow {tf.__version__}", flush=True)


if __name__ == "__main__":
    main()
