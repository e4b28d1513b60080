"""tfscale: from raw text to a language model that runs on a phone, trained with Keras and
tf.distribute.

    import tfscale

    tfscale.prepare(corpus="python-stdlib", vocabulary_size=4096, output="data")
    tfscale.train(tfscale.TransformerConfig(), tfscale.TrainConfig(steps=500), data="data",
                  output="run")
    tfscale.export("run", output="export", quantize="int8")
    tfscale.generate("export", prompt="def ", max_tokens=50)

Importing this package is cheap: TensorFlow is loaded when something that needs it is first used,
and `tfscale.device` never needs it. Files of its models load by `keras.models.load_model` where
this package has been imported. Type checkers read the names in `__init__.pyi`.
"""

import importlib
from types import ModuleType
from typing import Any

from tfscale.compat.keras_names import make_known

__version__ = "0.1.0"

_HOME = {
    # What is on disk.
    "open": "tfscale.artifacts",
    "Artifact": "tfscale.artifacts",
    "save_run": "tfscale.runs.save",
    "load_tokenizer": "tfscale.text.tokenizers",
    # The commands.
    "benchmark": "tfscale.api",
    "compare": "tfscale.workflows.compare",
    "compress_": "tfscale.api",
    "correct": "tfscale.api",
    "embed": "tfscale.api",
    "evaluate": "tfscale.api",
    "explain": "tfscale.api",
    "export": "tfscale.api",
    "fill": "tfscale.api",
    "finetune": "tfscale.tasks.finetune",
    "generate": "tfscale.api",
    "import_": "tfscale.runs.hub",
    "launch": "tfscale.launching.launcher",
    "plan": "tfscale.planning.plan",
    "predict": "tfscale.api",
    "prepare": "tfscale.api",
    "quickstart": "tfscale.workflows.quickstart",
    "swap": "tfscale.api",
    "tpu_check": "tfscale.workflows.tpu_check.check",
    "train": "tfscale.api",
    "trim": "tfscale.compress.vocabulary",
    "vectors": "tfscale.data.vectors",
    # Options.
    "BERTConfig": "tfscale.config",
    "BiLSTMConfig": "tfscale.config",
    "CompareConfig": "tfscale.config.comparison",
    "CompressConfig": "tfscale.config.compression",
    "DistillConfig": "tfscale.config.compression",
    "ExplainConfig": "tfscale.config.tasks",
    "ExportConfig": "tfscale.config",
    "GRUConfig": "tfscale.config",
    "LSTMConfig": "tfscale.config",
    "LaunchConfig": "tfscale.config.launching",
    "ModelConfig": "tfscale.config",
    "NGramConfig": "tfscale.config",
    "NNLMConfig": "tfscale.config",
    "NetworkConfig": "tfscale.config",
    "PrepareConfig": "tfscale.config",
    "PruneConfig": "tfscale.config.compression",
    "RNNConfig": "tfscale.config",
    "SamplingConfig": "tfscale.config",
    "SearchConfig": "tfscale.config.compression",
    "ShrinkConfig": "tfscale.config.shrinking",
    "SwapConfig": "tfscale.config.tasks",
    "TaskConfig": "tfscale.config.tasks",
    "TrainConfig": "tfscale.config",
    "TransformerConfig": "tfscale.config",
    "preset": "tfscale.config.presets",
    # For whoever writes Keras and calls `fit`.
    "LanguageModel": "tfscale.training.language_model",
    "Model": "tfscale.training.model",
    "build_network": "tfscale.models",
    "build_optimizer": "tfscale.training.optimizers",
    "evaluation_dataset": "tfscale.data.pipeline",
    "export_keras": "tfscale.exporting.keras_model",
    "from_keras_hub": "tfscale.models.hub",
    "parameter_count": "tfscale.models",
    "strategy": "tfscale.distribution.strategy",
    "training_dataset": "tfscale.data.pipeline",
    # Interfaces to extend.
    "ChoiceForm": "tfscale.evaluation.choices",
    "Choices": "tfscale.evaluation.choices",
    "Encoded": "tfscale.tasks.values",
    "Example": "tfscale.tasks.examples",
    "Dropped": "tfscale.text.filter",
    "ExportFormat": "tfscale.exporting.format",
    "Filter": "tfscale.text.filter",
    "LanguageNetwork": "tfscale.models.network",
    "LayerStep": "tfscale.models.stepping.layer_step",
    "OptimizerSpec": "tfscale.config.optimizer",
    "Reader": "tfscale.text.reader",
    "Recipe": "tfscale.models.recipe",
    "Removal": "tfscale.text.removal",
    "Row": "tfscale.text.reader",
    "Schedule": "tfscale.config.schedule",
    "Task": "tfscale.tasks.task",
    "Tokenizer": "tfscale.text.tokenizers",
    "register": "tfscale.registry",
    # Errors.
    "CheckpointError": "tfscale.errors",
    "ConfigError": "tfscale.errors",
    "DataError": "tfscale.errors",
    "ExportError": "tfscale.errors",
    "OvertakenError": "tfscale.errors",
    "PromptError": "tfscale.errors",
    "TfscaleError": "tfscale.errors",
    "TokenizerError": "tfscale.errors",
    "TrainingError": "tfscale.errors",
    "WorkerLostError": "tfscale.errors",
}
"""Public name -> the module that has it."""

__all__ = ["__version__", "compress", "device", *sorted(_HOME)]

make_known()


def __getattr__(name: str) -> Any:
    """Imports a public name; `__init__.pyi` has the types."""
    if name in ("compress", "device"):
        return _imported(f"tfscale.{name}")
    if name in _HOME:
        return getattr(_imported(_HOME[name]), name)
    raise AttributeError(f"module 'tfscale' has no attribute {name!r}")


_LIGHT = (
    "api",
    "artifacts",
    "config",
    "device",
    "errors",
    "evaluation.choices",
    "exporting.format",
    "launching",
    "planning",
    "registry",
    "tasks.examples",
    "tasks.task",
    "tasks.values",
    "text",
)
"""The folders and modules that do without TensorFlow."""


def _imported(module: str) -> ModuleType:
    if not module.removeprefix("tfscale.").startswith(_LIGHT):
        from tfscale.compat.quiet import start_quietly

        start_quietly()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("tensorflow", "keras", "litert_quantizer"):
            raise
        from tfscale.errors import NEEDS_TRAIN

        raise ImportError(NEEDS_TRAIN) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
