"""Questions of one's own: a context, choices, and which of them is right."""

from tfscale.evaluation.choices import ChoiceForm, Choices, Fields, number_of, text_of, texts_of
from tfscale.registry import register


@register
class PlainChoices(ChoiceForm):
    """Records with `context`, `choices` and `label`, the number of the right one from 0.

    A choice follows the context after a space.
    """

    name = "choices"
    summary = "your own: context, choices, label"

    def read(self, fields: Fields) -> Choices:
        return Choices(
            text_of(fields, "context"), texts_of(fields, "choices"), number_of(fields, "label")
        )
