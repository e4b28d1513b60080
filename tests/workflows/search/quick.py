"""A search of few recipes and sizes, for tests of what comes around it."""

import contextlib

import pytest

import tfscale.workflows.search.candidates as candidates_module
import tfscale.workflows.search.measure as measure_module
from tfscale.config.families import transformer
from tfscale.models.recipe import recipe

SIZES = [(1.0, 1.0, 1.0), (0.5, 1.0, 1.0)]
TIMING = {"decode_tokens_per_second": 1000.0, "peak_rss_bytes": 1_000_000}


@contextlib.contextmanager
def quick_search(*recipes):
    """These recipes, two sizes, and no process that takes the time: all of them are tested with the search itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates_module, "_recipes", lambda: [recipe(name) for name in recipes])
        patch.setattr(transformer, "_LADDER", SIZES)
        patch.setattr(measure_module, "_timing", lambda folder: TIMING)
        yield
