"""MMLU: questions of 57 subjects from school to profession, answered by a letter."""

from tfscale.errors import DataError
from tfscale.evaluation.choices import ChoiceForm, Choices, Fields, number_of, text_of, texts_of
from tfscale.registry import register

LETTERS = ("A", "B", "C", "D")


@register
class MMLU(ChoiceForm):
    """Records with `question`, `subject`, `choices` (four) and `answer` (0 to 3).

    Each subject is a group: examples before a question are of the same subject, and its name is in
    the sentence before them. Figures are usually given with five examples of the split dev.

    Source: Hendrycks et al. 2021, https://arxiv.org/abs/2009.03300; files as in cais/mmlu.
    """

    name = "mmlu"
    summary = "MMLU: question, subject, choices, answer; usually --shots 5"
    harness = ("mmlu", "mmlu_abstract_algebra")
    metrics = ("acc",)

    def read(self, fields: Fields) -> Choices:
        choices, subject = texts_of(fields, "choices"), text_of(fields, "subject")
        if len(choices) != len(LETTERS):
            raise DataError(f"choices should be four; received {len(choices)}")
        lines = [text_of(fields, "question").strip()]
        lines += [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=True)]
        about = subject.replace("_", " ")
        return Choices(
            "\n".join([*lines, "Answer:"]),
            LETTERS,
            number_of(fields, "answer"),
            group=subject,
            description="The following are multiple choice questions (with answers) about"
            f" {about}.\n\n",
        )
