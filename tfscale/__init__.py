"""tfscale: from raw text to a language model that runs on a phone, trained with Keras and
tf.distribute.

    import tfscale

    tfscale.prepare(corpus="python-stdlib", vocabulary_size=4096, output="data")
    tfscale.train(tfscale.TransformerConfig(), tfscale.TrainConfig(steps=500), data="data",
    output="run") tfscale.export("run", output="export", quantize="int8")
    tfscale.generate("export", prompt="def ", max_tokens=50)

Importing this package is cheap: TensorFlow is loaded when something that needs it is first used,
and `tfscale.device` never needs it. Files of its models load by `keras.models.load_model` where
this package has been imported.
"""

import importlib
from typing import Any

from tfscale.compat.keras_names import make_known

__version__ = "0.1.0"

_HOME = {
    "TfscaleError": "tfscale.errors",
    "CompareConfig": "tfscale.config.comparison",
    "compare": "tfscale.workflows.compare",
    "CompressConfig": "tfscale.config.compression",
    "ExportConfig": "tfscale.config",
    "LaunchConfig": "tfscale.config.launching",
    "LSTMConfig": "tfscale.config",
    "GRUConfig": "tfscale.config",
    "RNNConfig": "tfscale.config",
    "NNLMConfig": "tfscale.config",
    "BERTConfig": "tfscale.config",
    "BiLSTMConfig": "tfscale.config",
    "NGramConfig": "tfscale.config",
    "DistillConfig": "tfscale.config.compression",
    "PrepareConfig": "tfscale.config",
    "PruneConfig": "tfscale.config.compression",
    "SearchConfig": "tfscale.config.compression",
    "ShrinkConfig": "tfscale.config.shrinking",
    "search_run": "tfscale.workflows.search.search",
    "SamplingConfig": "tfscale.config",
    "TrainConfig": "tfscale.config",
    "TransformerConfig": "tfscale.config",
    "preset": "tfscale.config.presets",
    "build_network": "tfscale.models",
    "parameter_count": "tfscale.models",
    "LanguageModel": "tfscale.training.language_model",
    "strategy": "tfscale.distribution.strategy",
    "export_keras": "tfscale.exporting.keras_model",
    "ExportFormat": "tfscale.exporting.format",
    "register": "tfscale.registry",
    "train": "tfscale.runs.train",
    "train_vectors": "tfscale.data.vectors",
    "train_from_vectors": "tfscale.runs.vectors",
    "train_from_run": "tfscale.runs.start",
    "import_keras_hub": "tfscale.runs.hub",
    "from_keras_hub": "tfscale.models.hub",
    "train_ngram": "tfscale.runs.ngram",
    "plan": "tfscale.planning",
    "load_run": "tfscale.runs.folder",
    "training_dataset": "tfscale.data.pipeline",
    "evaluation_dataset": "tfscale.data.pipeline",
    "launch": "tfscale.launching.launcher",
    "load_tokenizer": "tfscale.text.tokenizers",
    "prepare": "tfscale.api",
    "evaluate": "tfscale.api",
    "export": "tfscale.api",
    "generate": "tfscale.api",
    "predict": "tfscale.api",
    "explain": "tfscale.api",
    "swap": "tfscale.api",
    "fill": "tfscale.api",
    "TaskConfig": "tfscale.config.tasks",
    "ExplainConfig": "tfscale.config.tasks",
    "SwapConfig": "tfscale.config.tasks",
    "finetune": "tfscale.tasks.finetune",
    "load_task": "tfscale.tasks.model",
    "correct": "tfscale.api",
}

__all__ = ["__version__", "compress", *sorted(_HOME)]

make_known()


def __getattr__(name: str) -> Any:
    if name in ("compress", "device"):
        return _imported(f"tfscale.{name}")
    if name in _HOME:
        return getattr(_imported(_HOME[name]), name)
    raise AttributeError(f"module 'tfscale' has no attribute {name!r}")


_LIGHT = (
    "api",
    "config",
    "device",
    "errors",
    "exporting.format",
    "launching",
    "planning",
    "registry",
    "text",
)
"""What does without TensorFlow."""


def _imported(module: str) -> Any:
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
