"""Every test sees two logical CPU devices, so that a strategy with two replicas runs on any machine.

TensorFlow takes the number of devices only before it starts. Tests of the device side never import it, so it is not
imported here: a hook divides the CPU right after the first `import tensorflow`, wherever that stands.
"""

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

# Whoever starts the tests in the background (nohup, a shell's &) may have them ignore these, and tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")


class _TwoDevicesLoader(importlib.abc.Loader):
    """TensorFlow's own loader, followed by the division of the CPU."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        config = sys.modules["tensorflow"].config
        cpu = config.list_physical_devices("CPU")[0]
        config.set_logical_device_configuration(cpu, [config.LogicalDeviceConfiguration()] * 2)


class _TwoDevicesFinder(importlib.abc.MetaPathFinder):
    """Finds `tensorflow` once and puts `_TwoDevicesLoader` around its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _TwoDevicesLoader(spec.loader)
        return spec


if "tensorflow" not in sys.modules:
    sys.meta_path.insert(0, _TwoDevicesFinder())


def pytest_configure() -> None:
    """Refuses two test files of one name at once: pytest imports one of them alone, and workers find out at the end."""
    files: dict[str, Path] = {}
    for path in sorted(Path(__file__).parent.rglob("test_*.py")):
        other = files.setdefault(path.name, path)
        if other is not path:
            raise pytest.UsageError(
                f"two test files have one name: {other} and {path}; rename one of them"
            )


def pytest_collection_finish() -> None:
    """Leaves what is there after the import of all tests out of garbage collections, which would look at it each time."""
    gc.collect()
    gc.freeze()


def _registered() -> set[tuple[str, str]]:
    """Returns the classes of others that are registered now; imports nothing."""
    module = sys.modules.get("tfscale.registry")
    return {
        (registry.what, name)
        for registry in (vars(module).values() if module else ())
        if isinstance(registry, module.Registry)
        for name, entry in registry._registered.items()
        if not entry.__module__.startswith("tfscale.")
    }


@pytest.fixture(scope="module", autouse=True)
def registries() -> Iterator[None]:
    """Finds the file whose tests leave a class registered, which another file's would meet."""
    before = _registered()
    yield
    left = _registered() - before
    assert not left, f"registered and not taken back: {sorted(left)}"
