"""All rows: imports every file of `habits`, in the order of the table."""

import importlib

from tests.conformance.habit import HABITS

GROUPS = (
    "data_arrays",
    "data_streams",
    "fit_arguments",
    "validation",
    "weighting",
    "losses",
    "metrics",
    "optimizers",
    "stopping",
    "recording",
    "forms",
    "state",
)

for _group in GROUPS:
    importlib.import_module(f"tests.conformance.habits.{_group}")

__all__ = ["HABITS"]
