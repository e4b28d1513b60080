"""`make equivalence` for `tfscale.Model`: its short form, its verdicts by hand, and its page."""

import dataclasses
import re

import numpy as np
import pytest

import tfscale
from benchmarks import equivalence_compared, equivalence_fits, equivalence_page
from benchmarks.equivalence_cases import F1, MODEL_CASES
from benchmarks.equivalence_compared import Compared, bound, compare_models, differences
from benchmarks.equivalence_models import BATCH_SIZE, Rows

LABELS = {"one device": "single", "Mirrored x 2": "mirrored"}
SMALL = {"loss": 1e-7, "metrics": 0.0, "evaluate": 1e-7, "weights": 2e-7}
LARGE = {**SMALL, "weights": 0.1}
ROW = Compared(MODEL_CASES["clipping"], "tfscale", "Mirrored x 2", 1, SMALL, SMALL)
PARTED = dataclasses.replace(ROW, case=MODEL_CASES["synchronized"], micro_batches=2)


@pytest.fixture(scope="module")
def short_form(tmp_path_factory):
    """The comparisons of the short form on one device and, in this process, on two replicas."""
    folder = tmp_path_factory.mktemp("equivalence")
    quick = [case for case in MODEL_CASES.values() if case.quick]
    for label, name in LABELS.items():
        (folder / label).mkdir()
        wanted = [
            training
            for case in quick
            for trainer in equivalence_compared.TRAINERS
            for training in equivalence_fits.trainings(case, trainer, name, quick=True)
            # What stock Keras does with one row for two replicas is nobody's reference.
            if (case.name, trainer, name) != ("one_row", "keras", "mirrored")
        ]
        for training, outcome in equivalence_fits.outcomes(wanted, tfscale.strategy(name), False):
            equivalence_fits.write(str(folder / label), training, outcome)
    return compare_models(str(folder), LABELS, [case.name for case in quick], quick=True)


@pytest.mark.slow
def test_two_replicas_give_the_answer_of_one_device_and_stock_keras_does_not(short_form):
    """With clipping, and with a batch of one row for two replicas."""
    ours = [row for row in short_form if row.trainer == "tfscale"]
    assert {(row.case.name, row.strategy) for row in ours} == {
        (case, label) for case in ("clipping", "one_row") for label in LABELS
    }
    assert [row for row in ours if row.answer != "same" or not row.ok] == []
    assert all(0 < row.control["weights"] < 1e-5 for row in ours)
    # Rows in another order and parts in another order round otherwise.
    assert any(row.differences["weights"] > 0 for row in ours)
    keras_clipped = [
        row for row in short_form if (row.trainer, row.case.name) == ("keras", "clipping")
    ]
    assert [row.strategy for row in keras_clipped] == ["Mirrored x 2"]
    assert keras_clipped[0].answer == "differs" and keras_clipped[0].differences["weights"] > 0.01


@pytest.mark.parametrize(
    "row, answer, ok",
    [
        (ROW, "same", True),
        (dataclasses.replace(ROW, differences=LARGE), "differs", False),
        (dataclasses.replace(ROW, trainer="keras", differences=LARGE), "differs", True),
        (dataclasses.replace(ROW, differences={}, refused="no"), "refused: no", False),
        (dataclasses.replace(ROW, differences={}, failed="E: no"), "fails: E: no", False),
        (PARTED, "same", False),
        (dataclasses.replace(PARTED, differences={}, refused="no"), "refused: no", True),
        (dataclasses.replace(PARTED, micro_batches=1), "same", True),
    ],
)
def test_verdicts(row, answer, ok):
    assert (row.answer, row.ok) == (answer, ok)


def test_bounds_and_differences_by_hand():
    assert (bound(0.0), bound(1e-6)) == (1e-6, 4e-6)
    one = {"fit/loss": np.array([1.0, 2.0]), "fit/mae": np.array([0.5]), "weight/0": np.zeros(2)}
    other = {**one, "fit/loss": np.array([1.0, 2.5]), "weight/0": np.array([0.0, np.nan])}
    found = differences(one, other)
    assert found == {"loss": 0.5, "metrics": 0.0, "evaluate": 0.0, "weights": float("inf")}
    with pytest.raises(RuntimeError, match="only one of two results has fit/mae"):
        differences(one, {name: other[name] for name in ("fit/loss", "weight/0")})


def test_rows_are_reordered_within_their_batches():
    x = np.arange(BATCH_SIZE + 5)
    rows = Rows([x, -x], x + 1, None).reordered(1)
    assert (rows.x[0] != x).any() and sorted(rows.x[0][:BATCH_SIZE]) == list(range(BATCH_SIZE))
    assert (rows.x[0] == -rows.x[1]).all() and (rows.y == rows.x[0] + 1).all()


def test_the_metric_of_the_table_is_f1():
    metric = F1()
    metric.update_state(np.array([0, 0, 1, 2]), np.eye(3)[[0, 1, 0, 2]])
    metric.update_state(np.array([0]), np.eye(3)[[0]])
    # Two right, three found, three wanted.
    assert float(metric.result()) == pytest.approx(2 * 2 / (3 + 3))


def test_an_error_of_a_traced_function_is_told_by_its_last_line():
    error = ValueError('in user code:\n\n    File "a.py", line 1\n\n    ValueError: too\tlong\n')
    assert equivalence_fits.one_line(error) == "ValueError: ValueError: too long"
    assert equivalence_fits.one_line(ValueError("a value\n0.5\n")) == "ValueError: a value..."
    line = equivalence_fits.one_line(RuntimeError("word " * 100))
    assert len(line) == 150 and line.startswith("RuntimeError: word") and line.endswith("...")


def test_a_cell_has_the_worst_of_its_trainings_and_says_what_is_refused():
    refused = dataclasses.replace(PARTED, differences={}, refused="no")
    worse = dataclasses.replace(ROW, differences={**SMALL, "metrics": 3e-7})
    assert equivalence_page.cell([ROW, worse, refused], ["no"]) == (
        "3e-07 / 2e-07; refused with micro-batches (1)"
    )
    failed = dataclasses.replace(ROW, trainer="keras", differences={}, failed="E: no")
    assert equivalence_page.cell([failed], ["no", "E: no"]) == "**fails (2)**"
    differs = dataclasses.replace(ROW, differences=LARGE)
    assert equivalence_page.cell([ROW, differs], []) == "**1e-07 / 1e-01**"
    assert equivalence_page.cell([], []) == "not run"


def test_the_page_has_every_training():
    text = equivalence_page.PAGE.read_text(encoding="utf-8")
    assert text.startswith(equivalence_page.INTRODUCTION)
    shown = re.findall(r"^\| (.+?) \| \S+ / \S+ \| tfscale \| ", text, re.MULTILINE)
    assert shown == [case.title for case in MODEL_CASES.values()]
    assert len(re.findall(r"^\|  \|  \| stock Keras \| the reference \|", text, re.M)) == len(shown)
