"""How much an export may change a model, recipe by recipe, and the rows in which a comparison is written down."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfscale.config import Quantization


@dataclass(frozen=True)
class Limits:
    """What a recipe may change.

    All but `perplexity_change` compare with the network whose weights are rounded as the recipe stores them.
    `max_logit_difference` is absolute. `relative_logit_error` is the root mean square of the differences over that of
    the network's logits around their mean. `top1_agreement` is the least fraction of tokens whose most likely
    successor is the same. `greedy_gap` is how much less likely, in the network's own logits and in units of their
    spread, the file's first differing greedy token may be. `perplexity_change` is relative, up or down, from the
    network as it was trained.
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
    # The same, of weights rounded to 11 bits: perplexity moves by 1e-5 to 1e-4. A weight beyond float16's range becomes
    # infinite and fails all of these.
    "float16": Limits(1e-3, 1e-4, 0.998, 1e-3, 1e-3),
    # Activations rounded to 8 bits: relative error 0.005 (trained) to 0.014 (fresh weights), agreement 0.97 (fresh) to
    # 0.998, perplexity moves by 1e-3. Recipes that broke a model had agreements below 0.75.
    "int8": Limits(None, 0.03, 0.9, 1e-2, 0.1),
    # The same activations. The rounded weights cost perplexity: 0.3 to 1 % without fine-tuning for them, 0.6 % (fresh).
    "int4": Limits(None, 0.03, 0.9, 0.05, 0.1),
    # 0.7 to 2 % without fine-tuning, 6 % (fresh).
    "int4_all": Limits(None, 0.03, 0.9, 0.1, 0.1),
}

UNROUNDED: dict[Quantization, Limits] = {
    # Where the converter chooses what it rounds, the network's own weights are the reference.
    "none": LIMITS["none"],
    "float16": Limits(None, 5e-3, 0.98, 1e-3, 0.02),
    "int8": Limits(None, 0.05, 0.9, 1e-2, 0.2),
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
