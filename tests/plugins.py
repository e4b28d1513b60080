"""Registers the classes of a module for some tests, and takes them back afterwards."""

import contextlib
import importlib
import types
from collections.abc import Iterator

from tfscale import registry as registry_module

_REGISTRIES = [
    value for value in vars(registry_module).values() if isinstance(value, registry_module.Registry)
]
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
            {
                key: entry
                for key, entry in registry._registered.items()
                if key not in known and not _is_own(entry)
            }
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


@contextlib.contextmanager
def unchanged_registries() -> Iterator[None]:
    """Takes back what is registered within the block, apart from tfscale's own classes."""
    before = [dict(registry._registered) for registry in _REGISTRIES]
    try:
        yield
    finally:
        for registry, known in zip(_REGISTRIES, before, strict=True):
            for key, entry in list(registry._registered.items()):
                if key not in known and not _is_own(entry):
                    del registry._registered[key]


def _is_own(entry: type) -> bool:
    """Whether tfscale brings the class: its module registers it once in a process."""
    return entry.__module__.startswith("tfscale.")
