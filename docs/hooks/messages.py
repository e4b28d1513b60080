"""Collects the error messages of the code, for the page "When something goes wrong".

The messages are read from the source, so the list is never behind it. A part that is known only
when the error happens is shown by its name, between braces. `python docs/hooks/messages.py` prints
them all.
"""

from __future__ import annotations

import ast
import functools
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

GAP = re.compile(r"\{[^{}]*\}")
"""A part of a message that is known only at run time."""
_STRING = ast.Constant | ast.JoinedStr | ast.BinOp

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


@functools.cache
def messages() -> list[Message]:
    """Reads every place that makes an error of this package.

    Returns:
        The messages, ordered by folder, class and text; the same message of a folder once.

    Example:
        >>> sum(message.error == "ConfigError" for message in messages()) > 100
        True
    """
    classes = error_classes()
    paths = sorted((ROOT / "tfscale").rglob("*.py"))
    modules = {path.relative_to(ROOT).with_suffix("").parts: _tree(path) for path in paths}
    scopes = {".".join(parts).removesuffix(".__init__"): tree for parts, tree in modules.items()}
    found = set()
    for name, tree in scopes.items():
        folder = name.split(".")[1] if "." in name else name
        scope = _Scope(tree, scopes)
        for error, argument in _made(tree):
            if error in classes:
                # A message that is passed on whole is listed where it is made.
                forms = [form for form in _forms(argument, scope) if not GAP.fullmatch(form)]
                found |= {Message(folder, error, " ".join(form.split())) for form in forms}
    return sorted(found)


class _Scope:
    """The names of a module that messages use: those that it assigns, defines or imports."""

    def __init__(self, tree: ast.Module, modules: dict[str, ast.Module]) -> None:
        self.names: dict[str, ast.AST] = _defined(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in modules:
                known = _defined(modules[node.module])
                for alias in node.names:
                    if alias.name in known:
                        self.names.setdefault(alias.asname or alias.name, known[alias.name])

    def strings(self, name: str) -> list[ast.expr]:
        """Returns what a name stands for, where that is a string or a table of strings."""
        value = self.names.get(name)
        values = value.values if isinstance(value, ast.Dict) else [value]
        return values if all(isinstance(text, _STRING) for text in values) else []

    def answers(self, name: str) -> list[ast.expr]:
        """Returns the strings that a function may return."""
        function = self.names.get(name)
        body = ast.walk(function) if isinstance(function, ast.FunctionDef) else []
        values = [node.value for node in body if isinstance(node, ast.Return)]
        return [value for value in values if isinstance(value, ast.JoinedStr)]


@functools.cache
def _defined(tree: ast.Module) -> dict[str, ast.AST]:
    found: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
    return found


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _made(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yields class and first argument of every call that makes an error."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name.endswith("Error"):
                yield name, node.args[0]


def _forms(node: ast.expr, scope: _Scope, inserted: bool = False) -> list[str]:
    """Writes an expression of a message as templates: one for each form that it can take.

    Args:
        node: The expression.
        scope: The names of its module.
        inserted: It stands between braces in a string.
    """
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.FormattedValue):
        return _forms(node.value, scope, inserted=True)
    if isinstance(node, ast.JoinedStr):
        return _joined([_forms(part, scope) for part in node.values])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and not inserted:
        return _joined([_forms(node.left, scope), _forms(node.right, scope)])
    if isinstance(node, ast.IfExp):
        forms = [*_forms(node.body, scope, inserted), *_forms(node.orelse, scope, inserted)]
        # An ending that is there in some cases, such as a plural's, makes no other message.
        return [form for form in forms if len(form) > 3] or [max(forms, key=len)]
    if isinstance(node, ast.BoolOp):
        last = node.values[-1]
        return _forms(last if isinstance(last, ast.Subscript) else node.values[0], scope, inserted)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "format":
            return _forms(node.func.value, scope)
    name = node.func if isinstance(node, ast.Call) and not inserted else None
    strings = scope.answers(name.id) if isinstance(name, ast.Name) else []
    if isinstance(node, ast.Name):
        strings = scope.strings(node.id)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        strings = scope.strings(node.value.id)
    if strings:
        return [form for string in strings for form in _forms(string, scope)]
    return ["{" + _name(node) + "}"]


def _joined(parts: list[list[str]]) -> list[str]:
    """Puts the forms of the parts together, each with each."""
    return ["".join(forms) for forms in itertools.product(*parts)]


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
        method = isinstance(node.func, ast.Attribute)
        return _name(node.func.value if method else node.func)
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
