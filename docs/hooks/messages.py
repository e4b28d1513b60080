"""Collects the error messages of the code, for the page "When something goes wrong".

The messages are read from the source, so the list is never behind it. A part that is known only
when the error happens is shown by its name, between braces. `python docs/hooks/messages.py` prints
them all.
"""

from __future__ import annotations

import ast
import html
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PLACE = "<!-- the site lists all messages here -->"
"""Where the list stands in docs/errors.md."""

CAUSES = {
    "text": "Text files and tokenizers",
    "data": "Data folders",
    "ngram": "N-grams",
    "config": "Options",
    "commands": "The command line",
    "api": "Arguments of functions",
    "registry": "Names and plugins",
    "errors": "Values out of range, packages that are missing",
    "models": "Networks and models of keras-hub",
    "training": "Training and fit",
    "distribution": "Strategies and clusters",
    "launching": "Supervised workers",
    "planning": "Plans on paper",
    "runs": "Run folders",
    "files": "Files and folders",
    "compat": "TensorFlow, Keras and TF-MOT",
    "inference": "Generation",
    "evaluation": "Evaluation",
    "compress": "Smaller models",
    "tasks": "Tasks",
    "analysis": "Groups, swaps and explanations",
    "artifacts": "What a run, a task or a file cannot do",
    "exporting": "Export",
    "device": "Exported files on the device",
    "workflows": "Compare, search, the TPU compiler",
    "cli": "Finding the command",
}
"""The folder of the package that raises -> what has gone wrong there."""


@dataclass(frozen=True, order=True)
class Message:
    """An error that the code can raise.

    Attributes:
        folder: The part of the package that raises it, such as "data".
        error: The class, such as "ConfigError".
        text: The message; the names of parts that are known only at run time stand in braces.
    """

    folder: str
    error: str
    text: str


def error_classes() -> dict[str, str]:
    """Returns the names of all errors of this package, with what their docstrings say."""
    return {
        node.name: " ".join((ast.get_docstring(node) or "").split())
        for node in _tree(ROOT / "tfscale" / "errors.py").body
        if isinstance(node, ast.ClassDef)
    }


def messages() -> list[Message]:
    """Reads every place that makes an error of this package.

    Returns:
        The messages, ordered by folder, class and text; the same message of a folder once.

    Example:
        >>> sum(message.error == "ConfigError" for message in messages()) > 100
        True
    """
    classes = error_classes()
    trees = {path: _tree(path) for path in sorted((ROOT / "tfscale").rglob("*.py"))}
    functions = {
        node.name: node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    constants: dict[str, ast.expr] = {}
    for tree in trees.values():
        constants |= _constants(tree)
    found = set()
    for path, tree in trees.items():
        folder = path.relative_to(ROOT / "tfscale").parts[0].removesuffix(".py")
        # A module's own constant hides one of the same name elsewhere.
        known = constants | _constants(tree)
        for error, argument in _made(tree):
            if error in classes:
                for text in _texts(argument, known, functions):
                    # A message that is passed on whole is listed where it is made.
                    if not re.fullmatch(r"\{[^{}]*\}", text):
                        found.add(Message(folder, error, " ".join(text.split())))
    return sorted(found)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Returns the strings, and the tables of strings, that a module has names for."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if isinstance(node.value, ast.Constant | ast.JoinedStr | ast.Dict | ast.BinOp):
                found[node.targets[0].id] = node.value
    return found


def _made(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yields class and first argument of every call that makes an error."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name.endswith("Error"):
                yield name, node.args[0]


def _texts(
    node: ast.expr, known: dict[str, ast.expr], functions: dict[str, ast.FunctionDef]
) -> Iterator[str]:
    """Yields the forms of a message: one for each entry of a table, each answer of a function."""
    if _called_method(node) == "format":
        node = node.func.value
    if isinstance(node, ast.JoinedStr):
        yield from map("".join, itertools.product(*(_choices(part, known) for part in node.values)))
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, known, functions)
        yield from _texts(node.orelse, known, functions)
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in functions:
        for part in ast.walk(functions[node.func.id]):
            answer = part.value if isinstance(part, ast.Return) else None
            if isinstance(answer, ast.JoinedStr | ast.Constant):
                yield _text(answer, known)
    else:
        yield from _choices(node, known)


def _choices(node: ast.expr, known: dict[str, ast.expr]) -> list[str]:
    """Returns what a part of a message can say: the entries of a table, or the part itself."""
    value = node.value if isinstance(node, ast.FormattedValue) else node
    if isinstance(value, ast.BoolOp):
        value = value.values[-1]
    table = known.get(value.value.id) if _is_lookup(value) else None
    texts = table.values if isinstance(table, ast.Dict) else []
    if texts and all(isinstance(text, ast.Constant | ast.JoinedStr | ast.BinOp) for text in texts):
        return [_text(text, known) for text in texts]
    return [_text(node, known)]


def _called_method(node: ast.expr) -> str:
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return node.func.attr if called else ""


def _is_lookup(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)


def _text(node: ast.expr, known: dict[str, ast.expr], inserted: bool = False) -> str:
    """Writes an expression of a message as a template."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value, known) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and not inserted:
        return _text(node.left, known) + _text(node.right, known)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, known, inserted=True)
    if isinstance(node, ast.IfExp):
        # An ending or a word more in some cases: the longer form stands for both.
        return max(_text(node.body, known), _text(node.orelse, known), key=len)
    if isinstance(node, ast.Name) and isinstance(known.get(node.id), ast.Constant | ast.JoinedStr):
        return _text(known[node.id], known)
    return "{" + _name(node) + "}"


def _name(node: ast.expr) -> str:
    """Names a value in one or two words."""
    if isinstance(node, ast.Name):
        return node.id.strip("_").lower()
    if isinstance(node, ast.Attribute) and node.attr == "__name__":
        return "type"
    if isinstance(node, ast.Attribute):
        inner = _name(node.value)
        return node.attr if inner in ("self", "...") else f"{inner}.{node.attr}".split(".", 1)[-1]
    if isinstance(node, ast.Subscript):
        key = node.slice
        named = isinstance(key, ast.Constant) and isinstance(key.value, str)
        return str(key.value) if named else _name(node.value)
    if isinstance(node, ast.Call) and node.args:
        if isinstance(node.func, ast.Name) and node.func.id == "len":
            return f"number of {_name(node.args[0])}"
        return _name(node.args[0])
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
        sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}[type(node.op)]
        return f"{_name(node.left)} {sign} {_name(node.right)}"
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        return _name(node.generators[0].iter)
    return "..."


def listing() -> str:
    """Writes all messages as Markdown, a section for each cause.

    Raises:
        KeyError: A folder of the package raises errors and is not in `CAUSES`.
    """
    by_cause: dict[str, list[Message]] = {}
    for message in messages():
        by_cause.setdefault(CAUSES[message.folder], []).append(message)
    sections = []
    for cause in CAUSES.values():
        items = [
            f"<li><code>{message.error}</code> {html.escape(message.text)}</li>"
            for message in by_cause.get(cause, [])
        ]
        sections.append(f"### {cause}\n\n<ul>\n" + "\n".join(items) + "\n</ul>")
    return "\n\n".join(sections)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the list into the page of errors."""
    return markdown.replace(PLACE, listing()) if page.file.src_uri == "errors.md" else markdown


if __name__ == "__main__":
    for each in messages():
        print(f"{each.folder}\t{each.error}\t{each.text}")
