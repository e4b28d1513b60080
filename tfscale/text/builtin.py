"""Two corpora that every Python installation carries, so that nothing has to be downloaded."""

import ast
import os
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Literal

from tfscale.errors import DataError
from tfscale.text.reader import TextFile

CORPORA = ("python-stdlib", "python-docs")

_LEFT_OUT_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib-dynload"}
)


def builtin_corpus(name: Literal["python-stdlib", "python-docs"]) -> list[TextFile]:
    """Returns the texts of a built-in corpus, in sorted order.

    - "python-stdlib": a text for each source file of the standard library. Left out are tests,
      installed packages, and `_sysconfigdata*.py`, which differs from machine to machine.
    - "python-docs": a text for each topic of the language reference (`pydoc_data.topics`) and for
      each source file with docstrings: the qualified name of the module, class or function, and
      under it its docstring.

    Both depend on the Python version. No module of the library is imported but `pydoc_data.topics`.

    Raises:
        DataError: the name is unknown, or the sources are not installed.

    Example:
        files = builtin_corpus("python-stdlib")
        next(read_documents(files))
    """
    if name not in CORPORA:
        raise DataError(f"unknown corpus {name!r}; expected {' or '.join(CORPORA)}")
    root = sysconfig.get_path("stdlib")
    sources = list(_sources(root)) if root and os.path.isdir(root) else []
    if not sources:
        raise DataError(
            f"the standard library's sources are not installed (looked in {root}); use --text"
        )
    read = _source if name == "python-stdlib" else _docstrings
    files = [
        TextFile(
            os.path.relpath(path, root).replace(os.sep, "/"),
            os.path.getsize(path),
            partial(read, path, root),
        )
        for path in sources
    ]
    return files if name == "python-stdlib" else _topics() + files


def _sources(root: str) -> Iterator[str]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - _LEFT_OUT_FOLDERS)
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                yield os.path.join(folder, name)


def _source(path: str, root: str) -> str:
    try:
        # Some of the sources declare another encoding than UTF-8.
        with tokenize.open(path) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise DataError(f"{path} of the standard library cannot be read ({error})") from error


def _docstrings(path: str, root: str) -> str:
    below = os.path.relpath(path, root).removesuffix(".py")
    module = below.replace(os.sep, ".").removesuffix(".__init__")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(_source(path, root))
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{path} of the standard library cannot be parsed ({error})") from error
    return "".join(f"{name}\n\n{text}\n\n" for name, text in _documented(tree, module))


def _documented(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        if text := ast.get_docstring(node):
            yield name, text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(child, f"{name}.{child.name}")
        else:
            yield from _documented(child, name)


def _topics() -> list[TextFile]:
    from pydoc_data.topics import topics

    return [
        TextFile(f"topics/{topic}", len(text.encode()), partial(str, text))
        for topic, text in sorted(topics.items())
    ]
