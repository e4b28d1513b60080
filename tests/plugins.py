"""Registers the classes of a module for some tests, and takes them back afterwards."""

import contextlib
import importlib
import types
from collections.abc import Iterator

from tfscale.registry import (
    FAMILIES,
    FILTERS,
    FORMATS,
    READERS,
    RECIPES,
    REMOVALS,
    TASKS,
    TOKENIZERS,
)

_REGISTRIES = (FAMILIES, FORMATS, READERS, FILTERS, REMOVALS, RECIPES, TASKS, TOKENIZERS)
_added: dict[str, list[dict[str, type]]] = {}
"""What a module registered when it was imported, which happens once in a process."""


@contextlib.contextmanager
def plugin(name: str) -> Iterator[types.ModuleType]:
    """Has the classes of a module registered within the block."""
    before = [dict(registry._registered) for registry in _REGISTRIES]
    module = importlib.import_module(name)
    if name not in _added:
        pairs = zip(_REGISTRIES, before, strict=True)
        _added[name] = [
            {key: entry for key, entry in registry._registered.items() if key not in known}
            for registry, known in pairs
        ]
    for registry, added in zip(_REGISTRIES, _added[name], strict=True):
        registry._registered.update(added)
    try:
        yield module
    finally:
        for registry, added in zip(_REGISTRIES, _added[name], strict=True):
            for key in added:
                registry._registered.pop(key, None)
