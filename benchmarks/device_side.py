"""A model of each family on its way to the device: trained briefly, exported, scored, and timed
token by token.

    python -m benchmarks.device_side export transformer --data DATA_DIR --steps 100 --output DIR
    python -m benchmarks.device_side score --export DIR/int8 --tokens tokens.npy
    python -m benchmarks.device_side file --export DIR/int8
    python -m benchmarks.device_side keras --run DIR/run

`score` and `file` load nothing of TensorFlow; `keras` decodes the same network by a tf.function
with a cache.
"""

import argparse
import json
import os

import numpy as np

import tfscale.device
from tfscale.config import ExportConfig, LSTMConfig, NetworkConfig, TrainConfig, TransformerConfig
from tfscale.device.bench import time_decoder

CONTEXT = 256
DECODE_TOKENS = 128
MODELS: dict[str, NetworkConfig] = {
    "transformer": TransformerConfig(
        sequence_length=CONTEXT, hidden_dim=256, num_layers=4, num_heads=4
    ),
    "lstm": LSTMConfig(sequence_length=CONTEXT, embedding_dim=256, hidden_dim=256),
}


def export(family: str, data_dir: str, steps: int, output: str) -> dict[str, int]:
    """Writes run/, none/, int8/ and tokens.npy (the validation split) to `output`; returns the
    sizes of the files."""
    from tfscale.data.tokens import split_stream
    from tfscale.exporting.export import export_run
    from tfscale.runs.folder import load_run
    from tfscale.runs.train import train

    config = TrainConfig(
        steps=steps,
        global_batch_size=8,
        warmup_steps=steps // 10,
        validate_every=steps,
        checkpoint_every=steps,
        validation_batches=1,
        tensorboard=False,
    )
    run_dir = os.path.join(output, "run")
    train(MODELS[family], config, data=data_dir, output=run_dir, progress=False)
    run = load_run(run_dir)
    sizes = {}
    for quantize in ("none", "int8"):
        folder = os.path.join(output, quantize)
        export_run(run, ExportConfig(output=folder, quantize=quantize))  # type: ignore[arg-type]
        sizes[quantize] = os.path.getsize(os.path.join(folder, "model.tflite"))
    np.save(os.path.join(output, "tokens.npy"), split_stream(data_dir, "validation"))
    return sizes


def keras(run_dir: str) -> dict[str, float]:
    """Times the run's network by its `KerasDecoder`, on one thread like the files."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from tfscale.inference.keras_decoder import KerasDecoder
    from tfscale.runs.folder import load_run

    run = load_run(run_dir)
    return time_decoder(KerasDecoder(run.network), run.tokenizer.vocabulary_size, DECODE_TOKENS)


def main() -> None:
    parser = argparse.ArgumentParser()
    tasks = parser.add_subparsers(dest="task", required=True)
    task = tasks.add_parser("export")
    task.add_argument("family", choices=MODELS)
    task.add_argument("--data", required=True)
    task.add_argument("--steps", type=int, required=True)
    task.add_argument("--output", required=True)
    task = tasks.add_parser("score")
    task.add_argument("--export", required=True)
    task.add_argument("--tokens", required=True)
    task.add_argument("--count", type=int, required=True)
    tasks.add_parser("file").add_argument("--export", required=True)
    tasks.add_parser("keras").add_argument("--run", required=True)
    options = parser.parse_args()
    if options.task == "export":
        result = export(options.family, options.data, options.steps, options.output)
    elif options.task == "score":
        tokens = np.load(options.tokens)[: options.count]
        result = tfscale.device.load(options.export).score(tokens.tolist()).to_dict()
    elif options.task == "file":
        result = tfscale.device.load(options.export).benchmark(DECODE_TOKENS)
    else:
        result = keras(options.run)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
