"""The options of text generation, and the cost of an edit in `tfscale correct`."""

from dataclasses import dataclass

from tfscale.config.options import Options
from tfscale.errors import ConfigError

EDIT_COST = 8.0
"""Nats by which a text must become more likely for `correct` to change one letter."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Options):
    """How the next token is drawn."""

    temperature: float = 0.0
    """Divides the logits; 0 takes the most likely token (greedy)."""
    top_k: int = 0
    """Draw among the k most likely tokens; 0 takes all."""
    top_p: float = 1.0
    """Draw among the fewest most likely tokens whose probabilities reach p (Holtzman et al. 2020);
    1 takes all."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens already seen (Keskar et al. 2019);
    1 does nothing."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_range(self.temperature >= 0, "temperature", "0 (greedy) or more")
        self.check_range(self.top_k >= 0, "top_k", "0 (all) or more")
        self.check_range(0 < self.top_p <= 1, "top_p", "above 0 to 1")
        self.check_range(self.repetition_penalty > 0, "repetition_penalty", "more than 0")
        self.check_range(self.seed >= 0, "seed", "0 or more")
        for name in ("top_k", "top_p"):
            value = getattr(self, name)
            if not self.temperature and value != getattr(type(self), name):
                raise ConfigError(
                    f"{name}={value} has no effect with temperature=0, which takes the most likely"
                    " token; give a temperature such as 0.8"
                )
