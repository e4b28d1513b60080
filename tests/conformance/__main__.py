"""Runs the rows with stock Keras and with tfscale, and writes docs/conformance.md.

make conformance
python -m tests.conformance [--only TEXT ...] [--twice-stock] [--lines N]
"""

import argparse
import os
import sys
import time
import traceback

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tests.conftest  # noqa: E402, F401 - divides the CPU into two devices
from tests.conformance.habit import Habit  # noqa: E402
from tests.conformance.rows import HABITS  # noqa: E402
from tests.conformance.running import Verdict, verdict  # noqa: E402
from tests.conformance.table import PAGE, page  # noqa: E402
from tests.conformance.trial import ours, stock  # noqa: E402


def main() -> int:
    """Runs the rows that are asked for; writes the page if all rows are as they were declared."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="parts of rows' names or groups")
    parser.add_argument("--twice-stock", action="store_true", help="stock Keras on both sides")
    parser.add_argument("--lines", type=int, default=5, help="lines of each difference")
    options = parser.parse_args()
    rows = [habit for habit in HABITS.values() if _is_asked(habit, options.only)]
    verdicts = {}
    for habit in rows:
        started = time.perf_counter()
        found = _verdict(habit, options.twice_stock)
        seconds = time.perf_counter() - started
        verdicts[habit.name] = found
        good = "ok  " if found.answer is habit.answer else "FAIL"
        word = found.answer.value if found.answer else "differs"
        print(f"{good} {seconds:5.1f} s  {habit.name}: {word}", flush=True)
        for line in found.text.splitlines()[: options.lines]:
            print(f"      {line}", flush=True)
    failed = [habit.name for habit in rows if verdicts[habit.name].answer is not habit.answer]
    print(f"{len(rows)} rows, {len(failed)} not as declared {' '.join(failed)}")
    if not failed and not options.twice_stock and len(rows) == len(HABITS):
        PAGE.write_text(page(verdicts), encoding="utf-8")
        print(f"wrote {PAGE}")
    return 1 if failed else 0


def _is_asked(habit: Habit, only: list[str] | None) -> bool:
    return not only or any(part in habit.name or part in habit.group for part in only)


def _verdict(habit: Habit, twice_stock: bool) -> Verdict:
    try:
        return verdict(habit, stock if twice_stock else ours)
    except Exception:
        return Verdict(None, "".join(traceback.format_exc().splitlines(True)[-6:]))


if __name__ == "__main__":
    sys.exit(main())
