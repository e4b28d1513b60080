"""The examples of docs/keras.md run as they stand, one after the other."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_examples_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "book.txt").write_text((ROOT / "CHANGELOG.md").read_text())
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "keras.md").read_text(), re.DOTALL)
    assert len(blocks) == 7
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert np.isfinite(names["report"]["perplexity"]["file"]) and names["report"]["decodes"]
    # 64 lines of at most 17 words: fewer targets than positions.
    assert 0 < float(re.findall(r"^([\d.]+)$", capsys.readouterr().out, re.MULTILINE)[1]) < 64 * 16
