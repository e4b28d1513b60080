"""`summarize`: a short text for a long one."""

import re
from collections.abc import Sequence

import numpy as np

from tfscale.files.json_text import JsonObject
from tfscale.registry import register
from tfscale.tasks.examples import Example
from tfscale.tasks.values import GroupScores, Prediction
from tfscale.tasks.writing_task import WritingTask, pairs_of

_ROUGE = ("rouge1", "rouge2", "rougeL")


@register
class Summarize(WritingTask):
    """A text for a text, judged by ROUGE-1, -2 and -L (Lin 2004): F1 averaged over the examples, 0
    to 1.

    The baseline is the first words of the source, as many as targets of the training examples have
    on average.
    """

    name = "summarize"
    summary = "a text for a text, judged by ROUGE"
    title = "Summaries"
    metric = "rougeL"
    package = "rouge_score"

    def text_scores(self, pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
        scores = _rouge(pairs)
        return {name: sum(score[name] for score in scores) / len(scores) for name in _ROUGE}

    def baseline(self, train: Sequence[Example], examples: Sequence[Example]) -> list[JsonObject]:
        words = sum(len(example.target.split()) for example in train)
        count = max(1, round(words / len(train)))
        return [{"text": " ".join(example.text.split()[:count])} for example in examples]

    def group_scores(
        self, examples: Sequence[Example], predictions: Sequence[Prediction]
    ) -> GroupScores:
        scores = [score["rougeL"] for score in _rouge(pairs_of(examples, predictions))]
        return GroupScores(scores, lambda chosen: float(np.mean(chosen)))


class _Words:
    """Cuts words of any script: rouge-score's own tokenizer keeps the letters a to z alone."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


def _rouge(pairs: Sequence[tuple[str, str]]) -> list[dict[str, float]]:
    """Returns the F1 of ROUGE-1, -2 and -L of each pair of a target and a written text."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(_ROUGE), tokenizer=_Words())
    return [
        {name: float(score.fmeasure) for name, score in scorer.score(*pair).items()}
        for pair in pairs
    ]
