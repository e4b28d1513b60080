"""A worker of test_minutes_workers.py: trains for some seconds and writes what it did at each call.

python -m tests.runs.minutes_worker DATA OUTPUT FOLDER STOP

The clock of worker 1 is wrong. At step STOP, if it is not 0, it is told to stop.
"""

import json
import os
import sys

import tfscale
from tfscale.distribution.workers import Workers
from tfscale.launching.heartbeat import beat
from tfscale.launching.parent import follow_launcher
from tfscale.runs import train as train_module
from tfscale.runs.recorder import RunRecorder

SECONDS = 24.0
MODEL = tfscale.TransformerConfig(
    sequence_length=16, hidden_dim=8, num_layers=1, num_heads=2, dropout=0.0
)
TRAIN = tfscale.TrainConfig(
    minutes=SECONDS / 60,
    global_batch_size=4,
    warmup_steps=5,
    validate_every=50,
    checkpoint_every=50,
    log_every=5,
    xla="off",
    tensorboard=False,
    learning_rate=1e-2,
    strategy="multi_worker",
)


def recording(calls, stop):
    """A recorder that writes down each call: the step, the last one, and the rate to come."""

    class Recording(RunRecorder):
        @property
        def seconds(self):
            return super().seconds if self.writes else 1000.0 + 50 * super().seconds

        def _prepare_call(self, step):
            super()._prepare_call(step)
            if not self.writes and stop and step >= stop:
                self.interrupted = "SIGTERM"
            rate = float(self.model.optimizer.learning_rate)
            calls.append([step, self.length.total, list(self.length.stops), rate])

    return Recording


def main(data, output, folder, stop):
    """Trains, and writes FOLDER/INDEX.json."""
    strategy = tfscale.strategy("multi_worker")
    beat(0)
    index, calls = Workers(strategy).index, []
    train_module.RunRecorder = recording(calls, int(stop))
    summary = train_module.train(MODEL, TRAIN, data=data, output=output, progress=False)
    figures = {name: summary[name] for name in ("steps", "completed")}
    with open(os.path.join(folder, f"{index}.json"), "w", encoding="utf-8") as file:
        json.dump({"calls": calls, **figures}, file)


if __name__ == "__main__":
    follow_launcher()
    main(*sys.argv[1:])
