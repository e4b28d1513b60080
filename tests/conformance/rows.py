"""All rows: imports every file of `habits`, in the order of the table."""

import importlib

from tests.conformance.habit import HABITS

FILES = """
data_arrays data_streams fit_arguments validation weighting losses metrics optimizers stopping
recording forms state using saving steps own_steps strategies own_parts
""".split()

for _file in FILES:
    importlib.import_module(f"tests.conformance.habits.{_file}")

__all__ = ["HABITS"]
