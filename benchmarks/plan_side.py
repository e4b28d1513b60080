"""One train step of a config on this machine: the time it takes, and the memory that XLA gives to
its temporaries.

    python -m benchmarks.plan_side '{"family": "transformer", "vocabulary_size": 1000, ...}' --batch
    8 --steps 20

The last line is JSON: `seconds` of a step (the best of three rounds), `temp_bytes` of the step's
largest XLA program (gradients and everything that lives between forward and backward),
`state_bytes` of all that a checkpoint holds.
"""

import argparse
import json
import os
import tempfile
import time

from benchmarks.memory_side import temporary_bytes


def main() -> None:
    """Builds the model, takes steps, prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=json.loads)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--micro-batches", type=int, default=1)
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--chunk", type=int, default=0)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    dump = tempfile.mkdtemp(prefix="tfscale-plan-")
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={dump} --xla_dump_hlo_as_text"
    )

    import keras
    import numpy as np
    import tensorflow as tf

    from tfscale import models
    from tfscale.config.models import network_families
    from tfscale.training.language_model import LanguageModel

    config = network_families()[options.model.pop("family")](**options.model)
    model = LanguageModel(models.build_network(config, options.precision))
    model.compile(
        keras.optimizers.AdamW(1e-3),
        micro_batches=options.micro_batches,
        remat=options.remat,
        loss_chunk_tokens=options.chunk,
    )
    step = model.train_step_runner
    assert step is not None
    shape = (options.batch, config.sequence_length)
    ids = np.random.default_rng(0).integers(0, config.vocabulary_size, shape, dtype="int32")
    iterator = iter(tf.data.Dataset.from_tensors((ids, ids)).repeat())
    step.run(iterator, 1)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        step.run(iterator, options.steps)
        seconds.append((time.perf_counter() - began) / options.steps)
    state = sum(variable.numpy().nbytes for variable in step.state().values())
    result = {"seconds": min(seconds), "temp_bytes": temporary_bytes(dump), "state_bytes": state}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
