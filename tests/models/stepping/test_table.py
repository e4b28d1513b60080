"""The table of layers in docs/keras.md is the registry."""

import re
from pathlib import Path

from tfscale.models.stepping.added_positions import AddedPositionsStep
from tfscale.registry import LAYER_STEPS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "keras.md"
FILES = {
    "state": "generates, with a state",
    "cache": "generates, with a key-value cache",
    "positions": "generates, by the position",
    "nothing": "scores windows",
}


def test_the_table_is_the_registry():
    kinds = [LAYER_STEPS.get(name) for name in LAYER_STEPS._files] + [AddedPositionsStep]
    kinds.sort(key=lambda kind: list(FILES).index(kind.keeps))
    rows = [f"| {kind.layers} | {FILES[kind.keeps]} | {kind.condition} |" for kind in kinds]
    table = re.search(
        r"\| layers \| the file \| condition \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", PAGE.read_text()
    )
    assert table[1].splitlines() == rows
