"""HellaSwag: which ending goes on with a description of everyday life."""

import re

from tfscale.evaluation.choices import ChoiceForm, Choices, Fields, number_of, text_of, texts_of
from tfscale.registry import register


@register
class HellaSwag(ChoiceForm):
    """Records with `activity_label`, `ctx_a`, `ctx_b`, `endings` and `label`.

    Source: Zellers et al. 2019, https://arxiv.org/abs/1905.07830; files as in Rowan/hellaswag.
    """

    name = "hellaswag"
    summary = "HellaSwag: activity_label, ctx_a, ctx_b, endings, label"
    harness = ("hellaswag",)

    def read(self, fields: Fields) -> Choices:
        context = f"{text_of(fields, 'ctx_a')} {text_of(fields, 'ctx_b').capitalize()}"
        return Choices(
            without_brackets(f"{text_of(fields, 'activity_label')}: {context}"),
            tuple(map(without_brackets, texts_of(fields, "endings"))),
            number_of(fields, "label"),
        )


def without_brackets(text: str) -> str:
    """Returns a text without the marks in brackets that are left from WikiHow.

    Example:
        without_brackets("Begin [title] Wash it [step] twice.")    # "Begin. Wash it twice."
    """
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")
