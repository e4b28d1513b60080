"""The Python of every page runs: its blocks in their order, in one namespace, on small data."""

import keras
import pytest

import tfscale
from tests.docs.collect import PAGES, RUN_BY, blocks, program
from tests.docs.world import (
    World,
    family_network,
    small_classifier,
    small_dataset,
    small_network,
)
from tests.plugins import unchanged_registries
from tests.slow import slow_but

FILES = {
    "README.md": ("book.txt",),
    "docs/index.md": ("book.txt",),
    "docs/export.md": ("run",),
    "docs/numbers.md": ("run", "questions.jsonl"),
    "docs/tasks.md": ("run", "train.conll"),
    "docs/device.md": ("run", "export", "task-export", "bilstm-export"),
    "docs/tutorials/device.md": ("export",),
}
"""Page -> what its Python finds in the working folder."""
NAMES = {
    "README.md": lambda: {"my_network": small_network(), "my_dataset": small_dataset()},
    "docs/device.md": small_classifier,
    "docs/memory.md": lambda: {"network": family_network(), "my_dataset": small_dataset()},
    "docs/compression.md": lambda: {
        "strategy": tfscale.strategy("single"),
        "my_network": small_network(),
        "teacher": small_network(),
        "tfscale": tfscale,
        "keras": keras,
    },
}
"""Page -> the names that its Python speaks of and does not make."""
LONG = ("docs/device.md", "docs/memory.md", "docs/tasks.md")
"""Pages whose programs train and export for many seconds."""
PROGRAMS = [page for page in PAGES if blocks(page, "python") and (page, "python") not in RUN_BY]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize(
    "page", slow_but(PROGRAMS, *(page for page in PROGRAMS if page not in LONG))
)
def test_python_runs(page, world, tmp_path, monkeypatch):
    world.give(FILES.get(page, ()), tmp_path)
    monkeypatch.chdir(tmp_path)
    names = NAMES[page]() if page in NAMES else {}
    with unchanged_registries():
        exec(compile(program(page), page, "exec"), {"__name__": "page", **names})
