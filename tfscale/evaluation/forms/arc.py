"""ARC: questions of science from school, easy ones and a challenge set."""

from tfscale.errors import DataError
from tfscale.evaluation.choices import ChoiceForm, Choices, Fields, text_of, texts_of
from tfscale.registry import register


@register
class ARC(ChoiceForm):
    """Records with `question`, `choices.text`, `choices.label` and `answerKey`.

    Source: Clark et al. 2018, https://arxiv.org/abs/1803.05457; files as in allenai/ai2_arc.
    """

    name = "arc"
    summary = "ARC, easy and challenge: question, choices.text, choices.label, answerKey"
    harness = ("arc_easy", "arc_challenge")

    def read(self, fields: Fields) -> Choices:
        labels, answer = texts_of(fields, "choices.label"), text_of(fields, "answerKey")
        if answer not in labels:
            raise DataError(f"answerKey is {answer!r}; expected one of {', '.join(labels)}")
        return Choices(
            f"Question: {text_of(fields, 'question')}\nAnswer:",
            texts_of(fields, "choices.text"),
            labels.index(answer),
        )
