"""LAMBADA: the last word of a passage, which only the whole passage tells."""

import math
from collections.abc import Sequence

from tfscale.errors import DataError
from tfscale.evaluation.choices import ChoiceForm, Choices, Fields, mean_and_error, text_of
from tfscale.evaluation.continuations import Scored
from tfscale.registry import register


@register
class LAMBADA(ChoiceForm):
    """Records with `text`, whose last word is to be predicted.

    `acc` counts words of which each token is the likeliest one. `perplexity` is that of a whole
    word: exp of the mean of its negative log-likelihoods.

    Source: Paperno et al. 2016, https://arxiv.org/abs/1606.06031; files as in
    EleutherAI/lambada_openai and cimec/lambada.
    """

    name = "lambada"
    summary = "LAMBADA: text, whose last word is predicted"
    harness = ("lambada_openai", "lambada_standard")
    metrics = ("perplexity", "acc")
    delimiter = ""

    def read(self, fields: Fields) -> Choices:
        text = text_of(fields, "text")
        if not text.strip():
            raise DataError("text is empty; there is no last word to predict")
        *words, last = text.split(" ")
        return Choices(" ".join(words), (f" {last}",), gold=0)

    def example(self, question: Choices) -> str:
        # Two spaces before the word, as the harness joins its examples of this task.
        return f"{question.context} {question.choices[0]}\n\n"

    def measure(self, question: Choices, scored: Sequence[Scored]) -> dict[str, float]:
        return {"perplexity": scored[0].log_likelihood, "acc": float(scored[0].greedy)}

    def summarize(
        self, metric: str, values: Sequence[float], groups: Sequence[str]
    ) -> tuple[float, float | None]:
        mean, error = mean_and_error(values, groups)
        if metric != "perplexity":
            return mean, error
        perplexity = math.exp(-mean) if -mean < 709 else math.inf
        # By the slope of exp, where the harness draws 100,000 samples.
        return perplexity, None if error is None else perplexity * error
