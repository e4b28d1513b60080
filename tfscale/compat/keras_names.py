"""Makes the classes of this package's Keras files known to Keras without importing them.

Keras knows a class once its module has been imported, and this package imports its modules when
they are first used. So `import tfscale` gives Keras a stand-in for each class and function, which
imports it when a file asks for it:

    import keras, tfscale
    model = keras.models.load_model("run/model.keras")

If Keras is not imported yet, the stand-ins wait until it is: importing it takes seconds, and the
device side does without it.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

MODULE_OF = {
    "ActivationRegularization": "tfscale.models.regularization",
    "BERT": "tfscale.models.bert",
    "BiLSTMLM": "tfscale.models.bilstm",
    "CausalSelfAttention": "tfscale.models.attention",
    "CrossAttention": "tfscale.models.cross_attention",
    "DecoderBlock": "tfscale.models.cross_attention",
    "Dropout": "tfscale.models.dropout",
    "EncoderDecoder": "tfscale.models.encoder_decoder",
    "Features": "tfscale.tasks.network",
    "GRU": "tfscale.models.recurrent_layers",
    "GRULM": "tfscale.models.recurrent",
    "LSTM": "tfscale.models.recurrent_layers",
    "LSTMLM": "tfscale.models.recurrent",
    "LanguageModel": "tfscale.training.language_model",
    "LastTokens": "tfscale.models.nnlm",
    "Model": "tfscale.training.model",
    "Muon": "tfscale.training.muon",
    "NNLM": "tfscale.models.nnlm",
    "Nadam": "tfscale.compat.keras_optimizers",
    "PoolText": "tfscale.tasks.network",
    "PositionEmbedding": "tfscale.models.layers",
    "PrefixLM": "tfscale.models.prefix",
    "Pruner": "tfscale.compress.pruning",
    "RNNLM": "tfscale.models.recurrent",
    "RegisteredSchedule": "tfscale.training.schedule",
    "ResidualMix": "tfscale.models.outer_layers",
    "SimpleRNN": "tfscale.models.recurrent_layers",
    "SoftCap": "tfscale.models.outer_layers",
    "TaskNetwork": "tfscale.tasks.network",
    "TimedSchedule": "tfscale.training.timed_schedule",
    "TransformerBlock": "tfscale.models.layers",
    "TransformerLM": "tfscale.models.transformer",
    "WarmupSchedule": "tfscale.training.schedule",
    "WordDropout": "tfscale.models.regularization",
    "ZeroOutputEmbedding": "tfscale.models.outer_layers",
    "gelu_tanh": "tfscale.models.activations",
    "relu_squared": "tfscale.models.activations",
}
"""The module of every class and function that is registered with Keras as tfscale>NAME."""


class StandIn:
    """Stands under a registered name until the class or function of that name is imported."""

    def __init__(self, name: str):
        self.name = name

    def from_config(self, config: Mapping[str, object]) -> object:
        """Returns an object of the class, as the class's own `from_config` makes it."""
        return self._itself().from_config(config)

    def __call__(self, *args: object) -> object:
        """Calls the function."""
        return self._itself()(*args)

    # Any: a class or a function.
    def _itself(self) -> Any:
        return getattr(importlib.import_module(MODULE_OF[self.name]), self.name)


def make_known() -> None:
    """Gives Keras the names now if it is imported, and else right after it is."""
    keras = sys.modules.get("keras")
    if keras is None:
        sys.meta_path.insert(0, _KerasFinder())
    else:
        _register(keras)


def _register(keras: types.ModuleType) -> None:
    known = keras.saving.get_custom_objects()
    for name in MODULE_OF:
        known.setdefault(f"tfscale>{name}", StandIn(name))


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Finds `keras` as the other finders do, and lets `_KerasLoader` load it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "keras":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _KerasLoader(spec.loader)
        return spec


class _KerasLoader(importlib.abc.Loader):
    """Loads Keras by its own loader and then gives it the names."""

    def __init__(self, loader: importlib.abc.Loader):
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        sys.meta_path[:] = [
            finder for finder in sys.meta_path if not isinstance(finder, _KerasFinder)
        ]
        _register(module)
