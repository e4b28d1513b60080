import json
import sys
from pathlib import Path

import pytest

from tfscale.errors import DataError
from tfscale.text import builtin
from tfscale.text.builtin import builtin_corpus
from tfscale.text.corpora import read_documents


def texts_by_name(name):
    return {file.name: file for file in builtin_corpus(name)}


def test_standard_library_without_tests_and_installed_packages():
    files = texts_by_name("python-stdlib")
    assert files["json/decoder.py"].text() == Path(json.decoder.__file__).read_text(
        encoding="utf-8"
    )
    modules = [name for name in files if "/" not in name]
    assert list(files)[: len(modules)] == sorted(modules)
    parts = {part for name in files for part in name.split("/")}
    assert not parts & {
        "test",
        "tests",
        "idle_test",
        "site-packages",
        "dist-packages",
        "__pycache__",
    }
    assert not any(part.startswith("_sysconfigdata") for part in parts)
    assert [file.name for file in builtin_corpus("python-stdlib")] == list(files)


def test_language_reference_and_docstrings():
    files = texts_by_name("python-docs")
    assert "assert" in files["topics/assert"].text()
    text = files["json/decoder.py"].text()
    assert "json.decoder.JSONDecoder.decode\n\nReturn the Python representation of ``s``" in text
    assert "def decode" not in text


def test_nested_docstrings_carry_their_qualified_names(tmp_path):
    source = tmp_path / "package" / "__init__.py"
    source.parent.mkdir()
    source.write_text(
        '"""Top."""\nif True:\n    class A:\n        """In A."""\n        async def f(self):\n            """In f."""\n'
        "def g(): pass\n"
    )
    expected = "package\n\nTop.\n\npackage.A\n\nIn A.\n\npackage.A.f\n\nIn f.\n\n"
    assert builtin._docstrings(str(source), str(tmp_path)) == expected


def test_sources_are_read_in_their_declared_encoding(tmp_path):
    source = tmp_path / "latin.py"
    source.write_bytes(b"# -*- coding: latin-1 -*-\nname = '\xe9'\n")
    assert builtin._source(str(source), str(tmp_path)).endswith("name = 'é'\n")
    source.write_bytes(b"name = '\xe9'\n")
    with pytest.raises(DataError, match=r"latin\.py of the standard library cannot be read"):
        builtin._source(str(source), str(tmp_path))


def test_no_module_is_imported_to_read_its_docstring():
    before = set(sys.modules)
    files = [
        file
        for file in builtin_corpus("python-docs")
        if file.name in ("antigravity.py", "this.py", "turtle.py")
    ]
    assert len(list(read_documents(files))) >= 1
    assert not (set(sys.modules) - before) & {"antigravity", "this", "turtle"}


def test_unknown_or_missing_corpus(monkeypatch, tmp_path):
    with pytest.raises(
        DataError, match="unknown corpus 'wikipedia'; expected python-stdlib or python-docs"
    ):
        builtin_corpus("wikipedia")
    monkeypatch.setattr(builtin.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match="sources are not installed"):
        builtin_corpus("python-stdlib")
