"""The options of `tfscale compare`."""

from dataclasses import dataclass

from tfscale.config.options import Options
from tfscale.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Options):
    """Several models on the same data, each trained with the same budget, side by side."""

    output: str
    """Folder to write: a run and an export for each model, the table, and a page. A second call
    goes on with it."""
    data: str
    """Data folder that `tfscale prepare` wrote."""
    budget_minutes: float = 0.0
    """Training minutes of each model, made into steps by the speed of the first ones, at least 100
    steps however long those take; n-grams take what they take."""
    budget_tokens: int = 0
    """Training tokens of each model, instead of minutes."""
    split: str = ""
    """Split to score; the test split, or the validation split where there is none."""
    seed: int = 0
    """Seed of weights and order of training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_range(self.budget_minutes >= 0, "budget_minutes", "more than 0")
        self.check_range(self.budget_tokens >= 0, "budget_tokens", "more than 0")
        self.check_range(self.seed >= 0, "seed", "0 or more")
        if bool(self.budget_minutes) == bool(self.budget_tokens):
            raise ConfigError(
                "give either budget_minutes or budget_tokens; received "
                f"budget_minutes={self.budget_minutes!r} and budget_tokens={self.budget_tokens!r}"
            )
