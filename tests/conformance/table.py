"""docs/conformance.md: written from the verdicts of all rows, and read by the tests."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import tensorflow as tf

from tests.conformance.habit import HABITS, Answer, Habit
from tests.conformance.running import Verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"

INTRODUCTION = """\
# Conformance with Keras

`tfscale.Model` is a `keras.Model` whose step is tfscale's. On one device it must be stock Keras.
Each row below is something that people do with a Keras model. It runs twice, once with the network
itself and once with `tfscale.Model(network)`, from the same seeds and data, and these are compared:

- histories, results of `evaluate` and `predict`, and the logs of every call, with the order of
  their names;
- all calls that a callback gets, in their order, with epochs, batches and parameters;
- all weights of the network, the optimizer's variables and its step count at the end.

Floats may be apart by 1e-5 and by 1e-5 of the value (2e-2 where layers compute in 16 bits). An
answer is one of three:

| answer | what it means |
|---|---|
| same | both sides give the same |
| right where Keras is wrong | tfscale gives what a sum in NumPy, or stock Keras in another way on one device, says is right; stock Keras does not |
| refused | tfscale says in one line why it does not do this |

```sh
make conformance                            # runs all rows and writes this page
make conformance ARGS="--only own_train"    # some of them
```

`make test` runs a part of the rows, `make test-slow` the rest. The scenarios are those of Keras's
own tests of trainers, data adapters and callbacks, and more. Those that need PyTorch, Grain, Orbax
or a server of one's own (`RemoteMonitor`) are not here.
"""


def page(verdicts: Mapping[str, Verdict]) -> str:
    """Returns the page of the verdicts of all rows, each as it was declared."""
    counts = Counter(habit.answer for habit in HABITS.values())
    numbers = ", ".join(f"{counts[answer]} {answer.value}" for answer in Answer)
    versions = f"Keras {keras.version()} on TensorFlow {tf.version.VERSION}"
    lines = [INTRODUCTION, f"{len(HABITS)} rows with {versions}:", f"{numbers}.", ""]
    others = [habit for habit in HABITS.values() if habit.answer is not Answer.SAME]
    lines += ["## What is not the same", "", *_table(others, verdicts)]
    for group in dict.fromkeys(habit.group for habit in HABITS.values()):
        rows = [habit for habit in HABITS.values() if habit.group == group]
        lines += [f"## {group}", "", *_table(rows, verdicts)]
    return "\n".join(lines).rstrip() + "\n"


def cell(habit: Habit, text: str) -> str:
    """Returns what the page says of a row.

    Args:
        text: the message of a refusal.
    """
    words = {Answer.SAME: "", Answer.RIGHT: habit.why, Answer.REFUSED: text}[habit.answer]
    answer = f"{habit.answer.value}: {words}" if words else habit.answer.value
    return answer.replace("|", "\\|")


def rows_of(text: str) -> dict[str, tuple[str, str]]:
    """Returns title and answer of each row of a page, by name."""
    found = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", text, re.MULTILINE)
    return {name: (title, answer) for name, title, answer in found}


def _table(rows: list[Habit], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    yield "| row | what people do | answer |"
    yield "|---|---|---|"
    for habit in rows:
        title = habit.title.replace("|", "\\|")
        yield f"| `{habit.name}` | {title} | {cell(habit, verdicts[habit.name].text)} |"
    yield ""
