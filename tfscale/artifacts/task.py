"""A fine-tuned task: the folder that `tfscale finetune` wrote, or its exported file."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from tfscale.artifacts.base import Artifact
from tfscale.config import ExportConfig
from tfscale.config.tasks import ExplainConfig, SwapConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.tasks.predictor import TaskPredictor
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from tfscale.exporting.report import Report
    from tfscale.tasks.model import TaskModel
    from tfscale.tasks.values import Prediction


class ExportedTask(Artifact):
    """A model that classifies, tags, answers or writes a text for a text.

    Args:
        path: the folder or file.
        model: what `tfscale.device.load` or `tfscale.tasks.model.load_task` returned.
    """

    kind = "a task"

    def __init__(self, path: str, model: TaskPredictor):
        super().__init__(path)
        self.model = model

    @property
    def tokenizer(self) -> Tokenizer:
        return self.model.task.tokenizer

    def score(
        self,
        text: Sequence[str] = (),
        data: str | None = None,
        split: str = "validation",
        text_field: str = "text",
    ) -> JsonObject:
        if not text or data:
            raise ConfigError(
                f"{self.path} is a task: give files of labelled examples to score, --text"
                " FILE.jsonl"
            )
        return self.model.score(self.model.read(text))

    def score_groups(
        self, text: Sequence[str], slice_by: str, text_field: str = "text"
    ) -> JsonObject:
        from tfscale.analysis.slicing import score_task_groups

        return score_task_groups(self.model, text, slice_by)

    def predict(
        self, text: str = "", question: str = "", file: str = "", beams: int = 1
    ) -> "list[Prediction]":
        if file:
            return self.model.predict(self.model.read([file], labelled=False), beams)
        return [self.model.predict_text(text, question, beams)]

    def explain(self, config: ExplainConfig) -> JsonObject:
        from tfscale.analysis.explaining import explain_label

        return explain_label(self.model, config)

    def swap(self, config: SwapConfig) -> NoReturn:
        raise ConfigError("swap is for language models: a task gives no likelihood of a text")

    def _refuse(self, method: str) -> NoReturn:
        if method == "generate":
            raise ConfigError(
                f"{self.path} is a model of the task {self.model.task.name}; tfscale predict"
                " asks it"
            )
        super()._refuse(method)


class TaskArtifact(ExportedTask):
    """The folder of a fine-tuned task, with its network."""

    model: "TaskModel"

    @classmethod
    def open(cls, path: str, threads: int = 1) -> "TaskArtifact":
        """Reads the folder."""
        from tfscale.tasks.model import load_task

        return cls(path, load_task(path))

    def export(
        self, config: ExportConfig, progress: Callable[[str], None] | None = None
    ) -> "Report":
        from tfscale.exporting.task import TaskSource
        from tfscale.exporting.writer import export_source

        return export_source(TaskSource(self.model), config, progress)
