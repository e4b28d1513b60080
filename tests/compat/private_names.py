"""Finds private names of other libraries in the source of the package, as far as source can tell."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "tfscale"
PRIVATE_MODULES = (
    "tensorflow.python",
    "tensorflow.compiler",
    "tensorflow_model_optimization.python",
)
ALLOWED = {
    # Runs in an environment of its own, where nothing of tfscale is: the one file for jax.
    "workflows/tpu_check/compiler.py",
}
NAMED_TUPLES = {"_asdict", "_fields", "_replace"}
"""What Python documents for named tuples: no private names, whatever they look like."""
ARGPARSE = {"_prog", "_fill_text", "_format_usage", "_get_help_string", "_format_action_invocation"}
"""Names that argparse offers to subclasses of `HelpFormatter`, as jsonargparse's formatter uses them."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != ""


def sources() -> dict[str, ast.Module]:
    """Parsed files of the package outside of compat/, by their path in it."""
    return {
        name: ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
        if not (name := path.relative_to(PACKAGE).as_posix()).startswith("compat/")
        and name not in ALLOWED
    }


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def own_names(trees: list[ast.Module]) -> set[str]:
    """Private functions, methods, attributes and variables that the package itself defines."""
    names = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            # An attribute that is set on something else than self is that thing's own.
            if is_self(node.value):
                names.add(node.attr)
    return {name for name in names if is_private(name)}


def names_in_compat() -> set[str]:
    """Private attributes of other objects than `self` that the files of compat/ use."""
    paths = (PACKAGE / "compat").glob("*.py")
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    return {n.attr for n in attributes if is_private(n.attr) and not is_self(n.value)}


def private_names_of_others(tree: ast.Module, own: set[str], compat: set[str]) -> list[str]:
    """Returns `name:line` of each private name of another library that a module uses.

    Args:
        tree: the module.
        own: private names that the package defines.
        compat: private names of other libraries; one of them may be an attribute of `self`, too.
    """
    found = []
    for node in ast.walk(tree):
        names: set[str] = set()
        if isinstance(node, ast.Attribute):
            names = {node.attr} - (own if is_self(node.value) else own - compat)
        elif isinstance(node, ast.ClassDef):
            # A method of such a name is called by the other library, or stands in for its own.
            names = {n.name for n in node.body if isinstance(n, ast.FunctionDef)} & compat
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("getattr", "hasattr", "setattr", "delattr"):
                texts = [part for part in node.args[1:2] if isinstance(part, ast.Constant)]
                names = {str(text.value) for text in texts} - own
        found += [
            f"{name}:{node.lineno}" for name in names - ARGPARSE - NAMED_TUPLES if is_private(name)
        ]
        if isinstance(node, ast.ImportFrom | ast.Import):
            module = getattr(node, "module", None)
            for name in [module] if module else [alias.name for alias in node.names]:
                if name.startswith(PRIVATE_MODULES) or {"src", "_src"} & set(name.split(".")):
                    found.append(f"{name}:{node.lineno}")
    return found
