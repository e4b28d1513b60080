"""A `.litertlm` bundle, which LiteRT-LM's own runtime reads."""

from collections.abc import Callable, Sequence

from tfscale.artifacts.base import Artifact
from tfscale.config import SamplingConfig
from tfscale.device import BundleModel
from tfscale.inference.generation import Generation


class BundleArtifact(Artifact):
    """A bundle: it generates, and nothing else.

    Args:
        path: the file or its folder.
        model: what `tfscale.device.load` returned.
    """

    kind = "a bundle"
    refusals = {
        "score": ("is a bundle, which LiteRT-LM does not score; give the .tflite file or the run"),
        "benchmark": "is a bundle, which LiteRT-LM times itself; give the .tflite file",
    }

    def __init__(self, path: str, model: BundleModel):
        super().__init__(path)
        self.model = model

    @property
    def tokenizer(self) -> None:
        """None: the tokenizer is in the bundle."""
        return None

    def generate(
        self,
        prompt: str,
        max_tokens: int = 64,
        sampling: SamplingConfig | None = None,
        stop: Sequence[str] = (),
        on_text: Callable[[str], None] | None = None,
        parse_special: bool = False,
    ) -> Generation:
        return self.model.generate(prompt, max_tokens, sampling, stop, on_text, parse_special)
