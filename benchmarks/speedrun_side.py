"""One training of `benchmarks.speedrun` by tfscale.

    python -m benchmarks.speedrun_side '{"model": {}, "train": {"steps": 100}}' --data DIR

The last line of stdout is JSON: the `loss` of the whole validation split, the `seconds` of the
training steps by the clock (the first call at the rate of those after it, for it compiles), and
when the last step `ended`, in seconds since the epoch.
"""

import argparse
import json
import time

from benchmarks.recipe_trial import train
from benchmarks.rounds import BenchmarkError


def main() -> None:
    """Trains, and prints the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("options", type=json.loads)
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    training = train(options.options, options.data, time.perf_counter)
    if training.failed:
        raise BenchmarkError(training.failed)
    meter = training.meter
    step, loss = meter.losses[-1]
    result = {"loss": loss, "seconds": meter.seconds_until(step), "ended": meter.ended}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
