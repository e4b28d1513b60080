"""A fine-tuned task as something to export: its .tflite file, compared with its Keras network."""

import os
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfscale.config import ExportConfig, to_dict
from tfscale.device import load
from tfscale.errors import DataError
from tfscale.exporting.dequantized import dequantized_folder
from tfscale.exporting.limits import agreeing, float32_copy_limits, keeps_weights, limits_of
from tfscale.exporting.readmes import task_readme
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.rounded import rounded_in_place
from tfscale.exporting.scoring import scoring_file
from tfscale.exporting.source import CONVERTED, Export, Source, SourceKind, TFLiteSource
from tfscale.exporting.writing import writing_file
from tfscale.files.description import Description
from tfscale.models.logits import spread
from tfscale.models.recipe import recipe
from tfscale.tasks.examples import Example
from tfscale.tasks.model import TaskModel
from tfscale.tasks.text_network import in_float32

_EQUAL_TEXTS = 0.9
"""Least fraction of equal texts where weights are stored as they are. Rounding may take the other
one of two tokens that are nearly as likely, which changes all that follow: it is only reported."""


@dataclass(frozen=True)
class Compared:
    """The examples that file and network are compared on.

    Attributes:
        examples: labelled examples; none where their files are gone.
        ids: their rows (N, T).
        counted: the logits (N, P) bool that count: those of the tokens of a text that is
            written, or of the words and tokens that have a label; not of what fills the window up.
        origin: where they come from, in words.
    """

    examples: list[Example]
    ids: np.ndarray
    counted: np.ndarray
    origin: str


class TaskSource(TFLiteSource):
    """A fine-tuned task.

    Args:
        model: as `tfscale.tasks.model.load_task` gives it.

    Example:
        export_source(TaskSource(load_task("task")), ExportConfig(output="export"))
    """

    kind: ClassVar[SourceKind] = "task"
    noun = "a task"
    advice = "a task is exported with --format tflite"
    recipes = CONVERTED
    tflite_format = "task"

    def __init__(self, model: TaskModel):
        self.network = in_float32(model.network)
        self.model = TaskModel(model.directory, self.network, model.task)
        self.task = model.task
        self.tokenizer = model.task.tokenizer
        self.directory = model.directory
        self._compared: Compared | None = None

    def describe(self, config: ExportConfig) -> Description:
        # Where the examples lay on this machine is nobody's business on the device.
        unknown = {"train": ["-"], "validation": [], "test": [], "output": "-"}
        return Description(
            family="task",
            end_id=self.task.tokenizer.end_id,
            start_id=self.task.tokenizer.start_id,
            more={
                "config": to_dict(self.model.config) | unknown,
                **self.task.shape.to_dict(),
            },
        )

    def convert(self, config: ExportConfig) -> bytes:
        convert = writing_file if self.task.gives == "text" else scoring_file
        return convert(self.network, self.task.read_length, config.quantize)

    def compared(self) -> Compared:
        """Returns what file and network are compared on."""
        if self._compared is None:
            self._compared = examples_of(self.model)
        return self._compared

    def compare_tflite(self, export: Export[Source], checks: Checks) -> Report:
        compare_task(checks, self.model, export.folder, self.compared(), export.config)
        return {"sizes": {"file_bytes": os.path.getsize(export.path("model.tflite"))}}

    def complete(self, report: Report, config: ExportConfig) -> None:
        compared = self.compared()
        report["compared_on"] = {"source": compared.origin, "examples": len(compared.ids)}

    def tflite_readme(
        self, description: Description, report: Report, sections: tuple[str, ...] = ()
    ) -> str:
        return task_readme(self.task, description, report)


def compare_task(
    checks: Checks, model: TaskModel, folder: str, compared: Compared, config: ExportConfig
) -> None:
    """Compares the file of a task with its network, with XNNPACK's kernels and without.

    Args:
        checks: receives the compared values.
        model: the task, in float32.
        folder: holds the file and its description.
        compared: what to compare on.
        config: recipe and threads.
    """
    limits = limits_of(model.network, config.quantize, converted=True)
    expected = model.logits(compared.ids)[compared.counted]
    writes = model.task.gives == "text"
    texts = model.predict(compared.examples) if writes and compared.examples else []
    unit = spread([expected])
    for kernels in ("xnnpack", "plain"):
        file = load(folder, threads=config.threads, xnnpack=kernels == "xnnpack")
        first = file.logits(compared.ids)
        logits = first[compared.counted]
        relative = float(np.sqrt(np.square(logits - expected).mean())) / unit
        checks.add(f"relative_logit_error ({kernels})", relative, "<=", limits.relative_logit_error)
        decisions = int(np.prod(expected.shape[:-1]))
        same = agreeing(logits, expected, limits.greedy_gap * unit) / decisions
        checks.add(f"equal_decisions ({kernels})", same, ">=", limits.top1_agreement)
        repeated = float(np.abs(file.logits(compared.ids[:1]) - first[:1]).max())
        checks.add(f"second_run_difference ({kernels})", repeated, "==", 0.0)
        if texts:
            pairs = zip(texts, file.predict(compared.examples), strict=True)
            equal = float(np.mean([ours == theirs for ours, theirs in pairs]))
            least = _EQUAL_TEXTS if keeps_weights(config.quantize) else None
            checks.add(f"equal_texts ({kernels})", equal, ">=", least)
    if recipe(config.quantize).rounds:
        _compare_float32_copy(checks, model, folder, compared, config)


def _compare_float32_copy(
    checks: Checks, model: TaskModel, folder: str, compared: Compared, config: ExportConfig
) -> None:
    """Compares the numbers and operations of a file of rounded weights with the network that has
    such weights, without the rounding of what products are given."""
    limits = float32_copy_limits(model.network, config.quantize, converted=True)
    with rounded_in_place(model.network, config.quantize):
        expected = model.logits(compared.ids)[compared.counted]
    with dequantized_folder(folder) as copy:
        logits = load(copy, threads=config.threads).logits(compared.ids)[compared.counted]
    relative = float(np.sqrt(np.square(logits - expected).mean())) / spread([expected])
    checks.add("relative_logit_error (float32 copy)", relative, "<=", limits.relative_logit_error)


def examples_of(model: TaskModel) -> Compared:
    """Returns examples of the files that a task was tested, validated or trained on.

    Where the files are gone the ids are random.
    """
    task = model.task
    for name in ("test", "validation", "train"):
        paths = getattr(model.config, name)
        if paths and all(os.path.isfile(path) for path in paths):
            try:
                examples = model.read(paths)[: task.compared]
            except DataError:
                continue
            rows = [task.encode(example) for example in examples]
            ids = np.stack([row.ids for row in rows])
            return Compared(examples, ids, task.counted(examples, rows), f"{name} examples")
    return Compared([], *task.random_rows(), "random tokens, because the examples are gone")
