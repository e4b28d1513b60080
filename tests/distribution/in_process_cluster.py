"""A process with a whole cluster inside: a coordinator, workers and parameter servers, in the place of a test.

A process can have one such cluster and no other strategy that communicates, so the tests run this file by itself:

    python tests/distribution/in_process_cluster.py SCENE RESULT.json
"""

import json
import os
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

from benchmarks.equivalence_worker import LENGTH, VOCABULARY, Losses, make_windows
from tests.distribution.addresses import free_addresses
from tests.gpt2 import gpt2
from tfscale import models
from tfscale.config import LSTMConfig, TrainConfig
from tfscale.errors import TfscaleError
from tfscale.registry import OPTIMIZERS
from tfscale.training.checkpoint import Checkpoints
from tfscale.training.language_model import LanguageModel
from tfscale.training.model import Model
from tfscale.training.optimizers import build_optimizer
from tfscale.training.variables import shards

ROWS, STEPS = 16, 40
SMALL_SHARDS = 512  # bytes, so that all but the smallest variables are cut
LSTM = LSTMConfig(
    vocabulary_size=VOCABULARY, sequence_length=LENGTH, embedding_dim=8, hidden_dim=16, dropout=0.1
)
TRANSFORMER = gpt2(
    vocabulary_size=VOCABULARY,
    sequence_length=LENGTH,
    hidden_dim=16,
    num_layers=1,
    num_heads=2,
    tie_embeddings=False,
)
TIED = gpt2(
    vocabulary_size=VOCABULARY, sequence_length=LENGTH, hidden_dim=16, num_layers=1, num_heads=2
)
MEMORY = {"micro_batches": 4, "remat": True, "loss_chunk_tokens": 10, "ema_decay": 0.9, "xla": True}
EXACT = {
    "lstm": (LSTM, "float32", {"xla": False}),
    "lstm, XLA": (LSTM, "float32", {"xla": True}),
    "untied transformer, all memory options": (TRANSFORMER, "float32", MEMORY),
    "tied transformer, no clipping": (
        TIED,
        "float32",
        {"clip_norm": 0.0, "ema_decay": 0.9, "xla": False},
    ),
    "tied transformer, documents apart": (
        TIED,
        "float32",
        {"document_mask": True, "document_start": 0, "xla": False},
    ),
    "tied transformer, bfloat16": (TIED, "mixed_bfloat16", {"xla": False}),
    "lstm, float16": (LSTM, "mixed_float16", {"xla": False}),
}
QUICK = ("untied transformer, all memory options", "lstm, float16")
"""Those of `make test`: with XLA and without, tied and not, a loop, a scaled loss. `make test-slow` takes all."""
QUICK_OPTIMIZERS = ("lion",)
"""Besides AdamW, which the cases above have: those whose state is not Adam's."""


def start_cluster(workers, servers):
    """A strategy over workers and servers that live in this process, each with a port of its own."""
    addresses = iter(free_addresses(1 + workers + servers))
    sizes = {"chief": 1, "worker": workers, "ps": servers}
    spec = tf.train.ClusterSpec(
        {task: [next(addresses) for _ in range(count)] for task, count in sizes.items()}
    )
    # Tasks wait for each other in threads that they all share here.
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=8)
    running = [
        tf.distribute.Server(spec, job_name=task, task_index=index, protocol="grpc", config=config)
        for task in ("worker", "ps")
        for index in range(sizes[task])
    ]
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="chief", task_id=0, rpc_layer="grpc"
    )
    partitioner = tf.distribute.experimental.partitioners.MinSizePartitioner(
        SMALL_SHARDS, max_shards=servers
    )
    return tf.distribute.ParameterServerStrategy(
        resolver, variable_partitioner=partitioner
    ), running


def build(strategy, config, precision="float32", optimizer=None, kind="adamw", **options):
    with strategy.scope():
        network = models.build_network(config, precision, seed=1)
        model = LanguageModel(network)
        chosen = TrainConfig(
            optimizer=kind, steps=STEPS, learning_rate=1e-2, warmup_steps=5, weight_decay=0.1
        )
        model.compile(
            optimizer or build_optimizer(chosen, network), **{"clip_norm": 0.5, **options}
        )
    return model


def batches():
    return tf.data.Dataset.from_tensor_slices(make_windows(5 * ROWS)).batch(ROWS).repeat()


def fit(model, steps=STEPS, steps_per_call=1):
    losses = Losses()
    model.fit(
        batches(),
        steps_per_epoch=steps,
        steps_per_call=steps_per_call,
        verbose=0,
        callbacks=[losses],
        validation_data=make_windows(21, seed=5),
    )
    return losses.values, model.evaluate(*make_windows(21, seed=5))["loss"]


def arrays(model):
    return {
        name: np.asarray(v.numpy(), float) for name, v in model.train_step_runner.state().items()
    }


def difference(one, other):
    return max(float(np.abs(one[name] - other[name]).max()) for name in other)


def one_worker(strategy, names):
    """With one worker the steps come one after the other, so the answer must be that of a single device."""
    results = {}
    single = tf.distribute.get_strategy()
    for name in names:
        config, precision, options = EXACT[name]
        served, alone = (build(where, config, precision, **options) for where in (strategy, single))
        (losses, validation), (expected, expected_validation) = fit(served), fit(alone)
        step, state, reference = served.train_step_runner, arrays(served), arrays(alone)
        plain = served.plain_network()
        with tempfile.TemporaryDirectory() as folder:
            Checkpoints(folder).save(STEPS, step.state(), {})
            moved = build(single, config, precision, **options)
            Checkpoints(folder).restore_latest(moved.train_step_runner.state())
            back = build(strategy, config, precision, **options)
            Checkpoints(folder).restore_latest(back.train_step_runner.state())
        results[name] = {
            "names": list(state) == list(reference),
            "loss": float(np.abs(np.subtract(losses, expected)).max()),
            "validation": abs(validation - expected_validation),
            "state": difference(state, reference),
            "restored alone": difference(arrays(moved), state),
            "restored on servers": difference(arrays(back), state),
            "plain": max(
                float(np.abs(a.numpy() - b.numpy()).max())
                for a, b in zip(plain.weights, served.network.weights, strict=True)
            ),
            "plain is local": all(type(v.value) is type(tf.Variable(0.0)) for v in plain.weights),
            "tables": [w.path for w in served.network.trainable_variables if w in step.tables],
            "sharded": [w.path for w in served.network.trainable_variables if len(shards(w)) > 1],
            "slots beside their weights": slots_beside_weights(step),
            "reads of tables": reads_of_tables(step),
            "learning rate": [model.current_learning_rate() for model in (served, alone)],
            "repeated": step.repeated,
        }
    return results


def optimizers(strategy, names=None):
    """Every optimizer that updates each number of a weight by itself, on servers and alone."""
    gaps = {}
    for spec in OPTIMIZERS:
        if spec.by_entries and (names is None or spec.name in names):
            where = (strategy, tf.distribute.get_strategy())
            served, alone = (build(one, LSTM, kind=spec.name, xla=False) for one in where)
            fit(served, 6)
            fit(alone, 6)
            gaps[spec.name] = difference(arrays(served), arrays(alone))
    return gaps


def slots_beside_weights(step):
    """Returns whether Adam's two variables of each weight or shard live where it lives."""
    slots = [v.value for v in step.optimizer.variables[-2 * len(step.variables) :]]
    return all(
        slots[2 * i + k].device == variable.device and slots[2 * i + k].shape == variable.shape
        for i, variable in enumerate(step.variables)
        for k in (0, 1)
    )


def reads_of_tables(step):
    """Operations of the workers' program, outside of the optimizer's branch, that take a shard of a table."""
    (program,) = step._worker_step._list_all_concrete_functions()
    tables = [
        shard for w in step.network.trainable_variables if w in step.tables for shard in shards(w)
    ]
    names = [
        inside.name
        for outside, inside in program.graph.captures
        if any(outside is shard.handle for shard in tables)
    ]
    assert len(names) == len(tables)
    return sorted(
        {op.type for op in program.graph.get_operations() for x in op.inputs if x.name in names}
        - {"If"}
    )


def quick_one_worker(strategy):
    """A part of the cases and of the optimizers, in one process."""
    return {
        "cases": one_worker(strategy, QUICK),
        "optimizers": optimizers(strategy, QUICK_OPTIMIZERS),
    }


def slow_one_worker(strategy):
    """All other cases."""
    return one_worker(strategy, [name for name in EXACT if name not in QUICK])


def asynchronous_runs(strategy, count=3):
    """Asynchronous runs of two models beside a synchronous one on as many tokens."""
    runs = []
    single = tf.distribute.get_strategy()
    for config in (LSTM, TRANSFORMER):
        _, expected = fit(build(single, config), 2 * STEPS)
        for _ in range(count):
            model = build(strategy, config)
            step = model.train_step_runner
            _, validation = fit(model, 2 * STEPS, steps_per_call=STEPS)
            runs.append(
                {
                    "loss": validation,
                    "synchronous": expected,
                    "repeated": step.repeated,
                    "steps": int(step.step.numpy()),
                    "updates": int(step.optimizer.iterations.numpy()),
                }
            )
    return runs


def two_workers(strategy):
    """An asynchronous run of each model, what is refused, and who reads what."""
    runs, errors = asynchronous_runs(strategy, 1), {}

    def refused(name, function):
        try:
            function()
        except TfscaleError as error:
            errors[name] = str(error)

    def generator():
        yield from zip(*make_windows(ROWS), strict=True)

    python = tf.data.Dataset.from_generator(
        generator,
        output_signature=(tf.TensorSpec((LENGTH,), tf.int32), tf.TensorSpec((LENGTH,), tf.int32)),
    ).batch(ROWS, drop_remainder=True)
    model = build(strategy, LSTM)
    refused("python", lambda: model.fit(python, steps_per_epoch=2, verbose=0))
    refused("end", lambda: model.fit(batches().take(3), steps_per_epoch=9, verbose=0))
    refused("generator", lambda: model.fit(iter([make_windows(ROWS)]), verbose=0))
    refused("metrics", lambda: build(strategy, LSTM, metrics=["accuracy"]))
    refused("on batch", lambda: model.train_on_batch(*make_windows(ROWS)))
    outside = batches().map(lambda ids, targets: (ids + VOCABULARY, targets))
    refused("id", lambda: model.fit(outside, steps_per_epoch=4, verbose=0))
    built = keras.optimizers.AdamW(1e-2)
    built.build([keras.Variable([1.0])])
    refused("built", lambda: build(strategy, LSTM, optimizer=built))
    with strategy.scope():
        other = Model(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    refused("any model", lambda: other.compile("adam", loss="mse"))
    wild = build(strategy, LSTM)
    wild.network.trainable_variables[-1].assign(np.full(VOCABULARY, np.nan))
    refused("not finite", lambda: fit(wild))
    shares = []

    def share(context):
        shares.append((context.num_input_pipelines, context.input_pipeline_id))
        return batches()

    build(strategy, LSTM).fit(share, steps_per_epoch=4, verbose=0)
    return {"runs": runs, "errors": errors, "shares": shares}


def main():
    scene, path = sys.argv[1:]
    workers, play = {
        "quick_one_worker": (1, quick_one_worker),
        "slow_one_worker": (1, slow_one_worker),
        "optimizers": (1, optimizers),
        "two_workers": (2, two_workers),
        "asynchronous_runs": (2, asynchronous_runs),
    }[scene]
    strategy, running = start_cluster(workers, 2)
    results = play(strategy)
    with open(path, "w") as file:
        json.dump(results, file)
    sys.stdout.flush()
    # TensorFlow's servers have no way to be stopped, and do not survive the end of Python's threads.
    os._exit(0)


if __name__ == "__main__":
    main()
