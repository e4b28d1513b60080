"""Runs the habits and writes docs/conformance.md.

make conformance
python -m tests.conformance [--only TEXT] [--twice-stock] [--write]
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
from tests.conformance.trial import ours, stock  # noqa: E402


def main() -> int:
    """Runs the habits whose names contain a text, prints what is not as declared."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("--only", default="", help="part of the rows' names or groups")
    parser.add_argument("--twice-stock", action="store_true", help="stock Keras on both sides")
    options = parser.parse_args()
    chosen = [h for h in HABITS.values() if options.only in h.name or options.only in h.group]
    failed = 0
    for row in chosen:
        started = time.perf_counter()
        found = _verdict(row, options.twice_stock)
        seconds = time.perf_counter() - started
        good = found.answer is row.answer
        failed += not good
        word = found.answer.value if found.answer else "DIFFERS"
        print(f"{'ok  ' if good else 'FAIL'} {seconds:5.1f} s  {row.name}: {word}", flush=True)
        if found.text:
            print("      " + found.text.replace("\n", "\n      "), flush=True)
    print(f"{len(chosen)} rows, {failed} not as declared")
    return 1 if failed else 0


def _verdict(row: Habit, twice_stock: bool) -> Verdict:
    try:
        return verdict(row, stock if twice_stock else ours)
    except Exception:
        return Verdict(None, "".join(traceback.format_exc().splitlines(True)[-6:]))


if __name__ == "__main__":
    sys.exit(main())
