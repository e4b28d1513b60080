"""The exported file of a classifier or another model of somebody's own."""

from typing import TYPE_CHECKING

from tfscale.artifacts.base import Artifact
from tfscale.device.predictor import Predictor
from tfscale.device.signature import Inputs
from tfscale.errors import ConfigError
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from tfscale.tasks.values import Prediction

_NO_LANGUAGE_MODEL = "is a file of a model of your own, with predict alone, and no language model"


class PredictorArtifact(Artifact):
    """A file that `tfscale.export_keras` made with `samples`.

    Args:
        path: the file or its folder.
        model: what `tfscale.device.load` returned.
    """

    kind = "a predictor"
    refusals = {
        "generate": _NO_LANGUAGE_MODEL,
        "fill": _NO_LANGUAGE_MODEL,
        "score": f"{_NO_LANGUAGE_MODEL}; parity.json has its accuracy where targets were given",
        "score_groups": _NO_LANGUAGE_MODEL,
        "swap": _NO_LANGUAGE_MODEL,
        "benchmark": f"{_NO_LANGUAGE_MODEL}, which alone are timed",
    }

    def __init__(self, path: str, model: Predictor):
        super().__init__(path)
        self.model = model

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self.model.tokenizer

    def predict(
        self, text: str | Inputs = "", question: str = "", file: str = "", beams: int = 1
    ) -> "list[Prediction]":
        """Returns one prediction for a text, or one for each row of arrays.

        Args:
            text: a text; or arrays, as `Predictor.predict` takes them.
            question: not taken.
            file: not taken.
            beams: not taken.

        Raises:
            ConfigError: an option that is not for such a file, or a text for one that takes none.
        """
        if question or file or beams != 1:
            raise ConfigError(
                f"{self.path} is a model of your own: it takes a text or arrays, and no question,"
                " file or beams"
            )
        return [self.model.predict_text(text)] if isinstance(text, str) else self.model.rows(text)
