"""PIQA: which of two ways of doing something works."""

from tfscale.evaluation.choices import ChoiceForm, Choices, Fields, number_of, text_of
from tfscale.registry import register


@register
class PIQA(ChoiceForm):
    """Records with `goal`, `sol1`, `sol2` and `label` (0 or 1).

    Source: Bisk et al. 2020, https://arxiv.org/abs/1911.11641; files as in baber/piqa.
    """

    name = "piqa"
    summary = "PIQA: goal, sol1, sol2, label"
    harness = ("piqa",)

    def read(self, fields: Fields) -> Choices:
        return Choices(
            f"Question: {text_of(fields, 'goal')}\nAnswer:",
            (text_of(fields, "sol1"), text_of(fields, "sol2")),
            number_of(fields, "label"),
        )
