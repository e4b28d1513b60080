"""docs/equivalence.md: written from the comparisons of `make equivalence`."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf
from rich.table import Table

from benchmarks.equivalence_compared import FLOOR, KINDS, MARGIN, STRATEGIES, TRAINERS, Compared
from benchmarks.equivalence_fits import EPOCHS, MICRO_BATCHES, ORDERS
from benchmarks.equivalence_models import BATCH_SIZE

PAGE = Path(__file__).resolve().parent.parent / "docs" / "equivalence.md"

INTRODUCTION = f"""\
# The same answer under every strategy

What a model learns must not depend on the machine. Each row below is a training that somebody may
write with Keras: {EPOCHS} epochs of a few batches of {BATCH_SIZE} rows, not shuffled, by SGD with
momentum. `tfscale.Model` trains it on one device, on 2 and 4 replicas of a `MirroredStrategy`
(logical CPU devices), and in 2 worker processes, with {", ".join(map(str, MICRO_BATCHES[:-1]))} and
{MICRO_BATCHES[-1]} micro-batches each. Stock Keras trains the same network under the same strategy,
as people do today. Neither uses XLA.

The reference is stock Keras on one device. A cell has two numbers: the largest difference of
anything that `fit` and `evaluate` return (losses and metrics of each epoch), and the largest
difference of a final weight; for tfscale the largest over the numbers of micro-batches. The control
is stock Keras on one device against itself, with the rows of each batch in {ORDERS} orders: the
same sums, rounded otherwise. A training is the same if it is no farther from the reference than
{MARGIN:g} times the control, or {FLOOR:g}. What is not the same is in **bold**.

```sh
make equivalence                                        # language models, too; writes this page
make equivalence ARGS="--part models --cases clipping"  # one row, in the terminal
```

[benchmarks.md](benchmarks.md#the-same-answer) has the table of the language models.
"""


def page(compared: Sequence[Compared]) -> str:
    """Returns the page of the comparisons of all cases."""
    notes = list(dict.fromkeys(line for c in compared if (line := c.refused or c.failed)))
    others = list(STRATEGIES)
    lines = [
        INTRODUCTION,
        textwrap.fill(
            f"Keras {keras.version()} on TensorFlow {tf.version.VERSION}; {verdict(compared)}.", 100
        ),
        "",
        f"| training | control | | {' | '.join(others)} |",
        f"|{'---|' * (len(others) + 3)}",
    ]
    for name in dict.fromkeys(c.case.name for c in compared):
        for trainer, shown in TRAINERS.items():
            of_row = [c for c in compared if (c.case.name, c.trainer) == (name, trainer)]
            cells = [
                cell([c for c in of_row if c.strategy == label], notes)
                if (trainer, label) != ("keras", "one device")
                else "the reference"
                for label in others
            ]
            first = trainer == "tfscale"
            title = of_row[0].case.title if first else ""
            control = two_numbers(of_row[0].control) if first else ""
            lines.append(f"| {title} | {control} | {shown} | {' | '.join(cells)} |")
    if notes:
        lines += ["", "| | what was said |", "|---|---|"]
        lines += [f"| {number} | `{line}` |" for number, line in enumerate(notes, 1)]
    return "\n".join(lines).rstrip() + "\n"


def verdict(compared: Sequence[Compared]) -> str:
    """Returns how many trainings were the same, in a line."""
    parts = []
    for trainer, shown in TRAINERS.items():
        of_trainer = [c for c in compared if c.trainer == trainer]
        answers = Counter(c.answer.split(":")[0] for c in of_trainer)
        words = {"same": "the same", "differs": "differ", "refused": "refused", "fails": "fail"}
        counts = [f"{answers[word]} {text}" for word, text in words.items() if answers[word]]
        parts.append(f"of {len(of_trainer)} trainings by {shown} {', '.join(counts)}")
    return "; ".join(parts)


def cell(trainings: Sequence[Compared], notes: Sequence[str]) -> str:
    """Returns what the page says of the trainings of a row under one strategy."""
    if not trainings:
        return "not run"
    words = []
    trained = [c for c in trainings if c.differences]
    if trained:
        worst = {kind: max(c.differences[kind] for c in trained) for kind in KINDS}
        numbers = two_numbers(worst)
        words.append(numbers if all(c.same for c in trained) else f"**{numbers}**")
    for what in ("refused", "failed"):
        lines = {getattr(c, what): c for c in trainings if getattr(c, what)}
        numbers = ", ".join(str(notes.index(line) + 1) for line in lines)
        if lines:
            word = "fails" if what == "failed" else "refused"
            where = " with micro-batches" if trained else ""
            text = f"{word}{where} ({numbers})"
            words.append(text if what == "refused" else f"**{text}**")
    return "; ".join(words)


def two_numbers(differences: dict[str, float]) -> str:
    """Returns the largest difference of what is returned, and that of the weights."""
    returned = max(value for kind, value in differences.items() if kind != "weights")
    return " / ".join(
        f"{value:.0e}" if value else "0" for value in (returned, differences["weights"])
    )


def table(compared: Sequence[Compared]) -> Table:
    """Returns all trainings as a table for the terminal."""
    shown = Table(title=f"differences from stock Keras on one device, {EPOCHS} epochs")
    for column in ("training", "by", "strategy", "micro", *KINDS, ""):
        shown.add_column(column, overflow="fold")
    for row in _rows(compared):
        shown.add_row(*row)
    return shown


def _rows(compared: Sequence[Compared]) -> Iterator[list[str]]:
    name = ""
    for one in compared:
        if one.case.name != name:
            name = one.case.name
            values = [f"{one.control[kind]:.0e}" for kind in KINDS]
            yield [name, "control", "one device", "1", *values, ""]
        values = [f"{one.differences[kind]:.0e}" if one.differences else "" for kind in KINDS]
        answer = one.answer if one.ok else f"NO, {one.answer}"
        yield [name, one.trainer, one.strategy, str(one.micro_batches), *values, answer[:60]]
