"""The fields of config classes as options: their order, their documentation, and which are rare.

A rare option is marked at its field, and is then left out of `tfscale COMMAND --help`:

    beta_1: float = rare(0.9)
    \"\"\"AdamW's decay rate of the first moment.\"\"\"

`--help-all` lists it among the advanced options.
"""

import ast
import dataclasses
import functools
import inspect
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_RARE = "rare"


def rare(default: T) -> T:
    """Marks an option as one that few people need: `--help-all` lists it, `--help` does not.

    Args:
        default: the default of the field; a list or a dict is copied for each object.

    Returns:
        What `dataclasses.field` returns; it is declared as the default, as there.

    Example:
        log_every: int = rare(20)
    """
    marked: Any
    if isinstance(default, list | dict):
        marked = dataclasses.field(default_factory=default.copy, metadata={_RARE: True})
    else:
        marked = dataclasses.field(default=default, metadata={_RARE: True})
    declared: T = marked
    return declared


def is_rare(field: "dataclasses.Field[Any]") -> bool:
    """Returns whether a field was marked by `rare`."""
    return bool(field.metadata.get(_RARE))


def default_of(field: "dataclasses.Field[Any]") -> object:
    """Returns the default of a field; `dataclasses.MISSING` where it must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def option_fields(config_class: type) -> "list[dataclasses.Field[Any]]":
    """Returns the fields in the order of the help: those of a class before those of its bases."""
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    order = [name for cls in config_class.__mro__ for name in inspect.get_annotations(cls)]
    return [fields[name] for name in dict.fromkeys(order) if name in fields]


def field_docs(config_class: type) -> dict[str, str]:
    """Returns the docstrings of the fields by name; a class's own go before those of its bases.

    Empty for a class whose source cannot be read, such as one that `exec` made.

    Example:
        field_docs(TrainConfig)["steps"]    # "Optimizer steps of the whole run."
    """
    docs: dict[str, str] = {}
    for cls in reversed(config_class.__mro__):
        docs.update(_own_docs(cls))
    names = {field.name for field in dataclasses.fields(config_class)}
    return {name: text for name, text in docs.items() if name in names}


def summary_of(config_class: type) -> str:
    """Returns the first paragraph of the docstring of a class on one line."""
    paragraph, _, _ = (inspect.getdoc(config_class) or "").partition("\n\n")
    return " ".join(paragraph.split())


@functools.cache
def _own_docs(cls: type) -> dict[str, str]:
    """Returns the string that stands under each field in the body of a class."""
    body = next(_bodies(cls), [])
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
    }


def _bodies(cls: type) -> Iterator[list[ast.stmt]]:
    """Yields the statements of the class of this qualified name in its module."""
    *outer, name = (part for part in cls.__qualname__.split(".") if part != "<locals>")
    scopes: list[ast.AST] = [_tree(cls.__module__)]
    for part in outer:
        scopes = [
            node
            for scope in scopes
            for node in ast.walk(scope)
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part
        ]
    # Most classes stand in the module itself, of which no more than that is looked through.
    for scope in scopes:
        for node in ast.iter_child_nodes(scope) if not outer else ast.walk(scope):
            if isinstance(node, ast.ClassDef) and node.name == name:
                yield node.body


@functools.cache
def _tree(module: str) -> ast.Module:
    """Returns the parsed source of a module; an empty one where it has none."""
    try:
        return ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return ast.Module([], [])
