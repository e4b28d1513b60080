"""Registries: the classes of each interface, by the name that a user types.

What tfscale brings lies in a folder, one file for each name: `exporting/formats/tflite.py` holds
the export format "tflite". Listing the names reads the folder and imports nothing; asking for one
imports its file. What others bring is registered by `tfscale.register` when their module is
imported, and is from then on a choice like any other:

    @tfscale.register
    class NumpyFormat(tfscale.ExportFormat):
        name = "npz"
        ...

`tfscale --plugins my_module COMMAND ...` imports a module before the command is parsed, and modules
of the entry point group `tfscale.plugins` are imported by themselves.
"""

import difflib
import functools
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from tfscale.errors import ConfigError

Registered = TypeVar("Registered", bound=type)
T = TypeVar("T")
AnyClass = Any
"""A class of an interface, which this module cannot name: it is in a folder above."""
VARIABLE = "TFSCALE_PLUGINS"
"""Environment variable with the plugins of `--plugins`, for the processes that a command starts."""
GROUP = "tfscale.plugins"
"""Entry point group of installed plugins: each entry names a module."""


class Registry(Generic[T]):
    """Classes of one interface by name.

    Args:
        what: one of them in words, for messages: "export format".
        package: the folder with a file for each name that tfscale brings.

    Example:
        FORMATS.names()         # ["arpa", "litertlm", ...]
        FORMATS.get("tflite")   # the class
    """

    def __init__(self, what: str, package: str):
        self.what, self.package = what, package
        self._registered: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Registers a class, or another version of the class that its module registered before.

        Raises:
            ConfigError: the name is empty, or taken by a class of another module.
        """
        if not isinstance(name, str) or not name:
            raise ConfigError(f"a registered {self.what} needs a name; received {name!r}")
        before = self._registered.get(name)
        own = f"{self.package}.{name}"
        taken_by = getattr(before, "__module__", own if name in self._files else None)
        module = getattr(entry, "__module__", None)
        if taken_by not in (None, module):
            raise ConfigError(f"the {self.what} {name!r} is already registered, by {taken_by}")
        self._registered[name] = entry

    def get(self, name: str) -> T:
        """Returns the class of this name.

        Raises:
            ConfigError: there is none; the closest name is given.
        """
        if name not in self._registered and name in self._files:
            importlib.import_module(f"{self.package}.{name}")
        if name not in self._registered:
            load_plugins()
        if name not in self._registered:
            known = self.names()
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"no {self.what} {name!r}; {hint}")
        return self._registered[name]

    def registered(self) -> list[T]:
        """Returns the classes that are registered so far, without importing tfscale's others."""
        return list(self._registered.values())

    def unregistered(self, name: object) -> str:
        """Returns, for messages about a file that names it, that a class is not registered here."""
        return (
            f"the {self.what} {name!r}, which is not registered here; import the module that"
            " registers it, or give --plugins MODULE"
        )

    def names(self) -> list[str]:
        """Returns all names: tfscale's own in alphabetical order, then those of others."""
        load_plugins()
        return list(dict.fromkeys([*self._files, *self._registered]))

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[T]:
        return (self.get(name) for name in self.names())

    @functools.cached_property
    def _files(self) -> list[str]:
        from importlib import resources

        folder = resources.files("tfscale").joinpath(*self.package.split(".")[1:])
        files = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(file[:-3] for file in files if file.endswith(".py") and file[0] != "_")


class NameIn:
    """Marks a `str` option whose value is a name of a registry: `Annotated[str, NameIn(FORMATS)]`.

    Args:
        registry: the registry.
        leave_out: names that this option does not offer.
        explained: whether `--help` says what each name is, by the `summary` of its class.
        or_empty: whether the option may be empty, which its docstring explains.
    """

    def __init__(
        self,
        registry: Registry[AnyClass],
        leave_out: tuple[str, ...] = (),
        explained: bool = False,
        or_empty: bool = False,
    ):
        self.registry, self.leave_out, self.explained = registry, leave_out, explained
        self.or_empty = or_empty

    def names(self) -> list[str]:
        """The names that the option offers."""
        return [name for name in self.registry.names() if name not in self.leave_out]

    def takes(self, value: object) -> bool:
        """Returns whether the option may have a value."""
        return value in self.names() or (self.or_empty and value == "")

    def explain(self) -> str:
        """Returns each name with the summary of its class, for `--help`; empty if not asked for."""
        names = self.names() if self.explained else []
        return "; ".join(f"{name}: {self.registry.get(name).summary}" for name in names)


FAMILIES: Registry[AnyClass] = Registry("model family", "tfscale.config.families")
"""Config classes of model families; see `tfscale.config.models.ModelConfig`."""
FORMATS: Registry[AnyClass] = Registry("export format", "tfscale.exporting.formats")
"""See `tfscale.exporting.format.ExportFormat`."""
TOKENIZERS: Registry[AnyClass] = Registry("tokenizer", "tfscale.text.tokenizers.kinds")
"""See `tfscale.text.tokenizers.base.Tokenizer`."""
READERS: Registry[AnyClass] = Registry("reader", "tfscale.text.readers")
"""See `tfscale.text.reader.Reader`."""
COMPRESSIONS: Registry[AnyClass] = Registry("compression", "tfscale.text.compressions")
"""See `tfscale.text.compression.Compression`."""
ARCHIVES: Registry[AnyClass] = Registry("archive", "tfscale.text.archives")
"""See `tfscale.text.archive.Archive`."""
ENGINES: Registry[AnyClass] = Registry("engine", "tfscale.data.engines")
"""See `tfscale.data.engine.Engine`."""
FILTERS: Registry[AnyClass] = Registry("filter", "tfscale.text.filters")
"""See `tfscale.text.filter.Filter`."""
REMOVALS: Registry[AnyClass] = Registry("removal", "tfscale.text.removals")
"""See `tfscale.text.removal.Removal`."""
TASKS: Registry[AnyClass] = Registry("task", "tfscale.tasks.kinds")
"""See `tfscale.tasks.task.Task`."""
CHOICE_FORMS: Registry[AnyClass] = Registry("form of multiple choice", "tfscale.evaluation.forms")
"""See `tfscale.evaluation.choices.ChoiceForm`."""
RECIPES: Registry[AnyClass] = Registry("quantization recipe", "tfscale.models.recipes")
"""See `tfscale.models.recipe.Recipe`."""
OPTIMIZERS: Registry[AnyClass] = Registry("optimizer", "tfscale.config.optimizers")
"""See `tfscale.config.optimizer.OptimizerSpec`."""
SCHEDULES: Registry[AnyClass] = Registry("schedule", "tfscale.config.schedules")
"""See `tfscale.config.schedule.Schedule`."""
LAYER_STEPS: Registry[AnyClass] = Registry("layer step", "tfscale.models.stepping.kinds")
"""See `tfscale.models.stepping.layer_step.LayerStep`."""

HUB_READERS: Registry[AnyClass] = Registry(
    "architecture of keras-hub", "tfscale.models.hub_readers"
)
"""See `tfscale.models.hub_reader.HubReader`."""
HUB_WRITERS: Registry[AnyClass] = Registry(
    "architecture of transformers", "tfscale.models.hub_writers"
)
"""See `tfscale.models.hub_writer.HubWriter`."""


def register(cls: Registered) -> Registered:
    """Makes a subclass of one of tfscale's interfaces known by its name.

    Args:
        cls: a subclass of `LanguageNetwork`, `ExportFormat`, `Tokenizer`, `Reader`, `Filter`,
            `Removal`, `Task`, `ChoiceForm`, `Recipe`, `OptimizerSpec`, `Schedule` or `LayerStep`.

    Returns:
        The class, so that this can decorate it.

    Raises:
        ConfigError: it is not one of these, or its name is taken.

    Example:
        @tfscale.register
        class Sentiment(tfscale.Task):
            name = "sentiment"
    """
    enter = getattr(cls, "enter_registry", None)
    if enter is None:
        raise ConfigError(
            "register takes a subclass of LanguageNetwork, ExportFormat, Tokenizer, Reader, Filter,"
            " Removal, Task, ChoiceForm, Recipe, OptimizerSpec, Schedule or LayerStep; received"
            f" {cls!r}"
        )
    enter()
    return cls


def module_of(cls: type) -> str | None:
    """Returns the module whose import registers a class, for a process started from here.

    None if no import does: a class of a script or notebook, or one that a function made.
    """
    module = sys.modules.get(cls.__module__)
    importable = cls.__module__ != "__main__" and getattr(module, "__spec__", None) is not None
    return cls.__module__ if importable and "<locals>" not in cls.__qualname__ else None


def use_plugins(modules: list[str]) -> None:
    """Imports the modules that `--plugins` names, here and in the processes started from here.

    Raises:
        ConfigError: one of them cannot be imported.
    """
    earlier = [name for name in os.environ.get(VARIABLE, "").split(",") if name]
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*earlier, *modules]))
    load_plugins.cache_clear()
    load_plugins()


@functools.cache
def load_plugins() -> None:
    """Imports the plugins that are installed, and those that the environment names; once.

    Raises:
        ConfigError: one of them cannot be imported.
    """
    named = [name for name in os.environ.get(VARIABLE, "").split(",") if name]
    from importlib import metadata

    installed = [entry.module for entry in metadata.entry_points(group=GROUP)]
    if named and "" not in sys.path and os.getcwd() not in sys.path:
        # The console script does not look for modules in the folder that it was started in.
        sys.path.append(os.getcwd())
    for module in dict.fromkeys([*named, *installed]):
        try:
            importlib.import_module(module)
        except Exception as error:
            what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise ConfigError(f"plugin {module} cannot be imported ({what})") from error
