"""How much an export may change a model, recipe by recipe, and the rows in which a comparison is written down."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfscale.config import Quantization


@dataclass(frozen=True)
class Limits:
    """What a recipe may change.

    `max_logit_difference` is absolute. `relative_logit_error` is the root mean square of the differences over that of
    the network's logits around their mean. `top1_agreement` is the least fraction of tokens whose most likely
    successor is the same. `perplexity_change` is relative, up or down. `greedy_gap` is how much less likely, in the
    network's own logits and in units of their spread, the file's first differing greedy token may be.
    """

    max_logit_difference: float | None
    relative_logit_error: float
    top1_agreement: float
    perplexity_change: float
    greedy_gap: float


LIMITS: dict[Quantization, Limits] = {
    # The same float32 arithmetic in another order: logits differ by 1e-6 to 1e-5, a relative error of 3e-7. One
    # near-tie in 512 tokens may flip.
    "none": Limits(1e-3, 1e-4, 0.998, 1e-4, 1e-3),
    # Weights rounded to 11 bits: relative error 1e-4 to 4e-4, perplexity moves by 1e-5. A weight beyond float16's range
    # becomes infinite and fails all of these.
    "float16": Limits(None, 5e-3, 0.98, 1e-3, 0.02),
    # Weights and activations rounded to 8 bits: relative error 0.005 (trained) to 0.02 (fresh weights), agreement 0.95
    # (fresh) to 0.997, perplexity moves by 1e-3. Recipes that broke a model had agreements below 0.75.
    "int8": Limits(None, 0.05, 0.9, 1e-2, 0.25),
}


class Checks:
    """Collects measured values with their limits."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, value: float, rule: str, limit: float | None) -> None:
        """Adds a row; `rule` is "<=", ">=" or "=="; without a limit it is a measurement that passes."""
        passed = limit is None or bool(
            {"<=": np.less_equal, ">=": np.greater_equal, "==": np.equal}[rule](value, limit)
        )
        self.rows.append({"name": name, "value": value, "rule": rule, "limit": limit, "passed": passed})

    @property
    def passed(self) -> bool:
        """Whether all of them are."""
        return all(row["passed"] for row in self.rows)
