"""How good written texts are, by sacrebleu and rouge-score, beside what it costs nothing to write.

The baselines: of a translation the source itself; of a summary the first words of the source, as
many as targets of the training examples have on average.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from tfscale.tasks.examples import Example

_ROUGE = ("rouge1", "rouge2", "rougeL")


def text_metrics(
    task: str, examples: Sequence[Example], predictions: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Scores of written texts.

    Args:
        task: "translate" or "summarize".
        examples: with their targets.
        predictions: `text` of each.

    Returns:
        `examples` and `exact_match`; translate: `bleu` (Papineni et al. 2002) and `chrf` (Popovic
        2015) of the whole set, 0 to 100; summarize: `rouge1`, `rouge2` and `rougeL` (Lin 2004), F1
        averaged over the examples, 0 to 1.

    Example:
        text_metrics("translate", examples, model.predict(examples))["chrf"]
    """
    pairs = [
        (example.target, one["text"]) for example, one in zip(examples, predictions, strict=True)
    ]
    same = sum(a.split() == b.split() for a, b in pairs)
    figures: dict[str, Any] = {"examples": len(pairs), "exact_match": same / len(pairs)}
    if task == "translate":
        return figures | {"bleu": _corpus("bleu", pairs), "chrf": _corpus("chrf", pairs)}
    scores = rouge(pairs)
    return figures | {name: sum(one[name] for one in scores) / len(scores) for name in _ROUGE}


def chrf(pairs: Sequence[tuple[str, str]]) -> float:
    """chrF, 0 to 100, of pairs of a target and what was written, together."""
    return _corpus("chrf", pairs)


def rouge(pairs: Sequence[tuple[str, str]]) -> list[dict[str, float]]:
    """ROUGE-1, -2 and -L of each pair of a target and what was written: F1, 0 to 1."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(_ROUGE), tokenizer=_Words())
    return [
        {name: float(score.fmeasure) for name, score in scorer.score(*pair).items()}
        for pair in pairs
    ]


def text_baseline(
    task: str, train: Sequence[Example]
) -> Callable[[Sequence[Example]], list[dict[str, Any]]]:
    """A function from examples to the predictions that need no model; see the module's first
    lines."""
    if task == "translate":
        return lambda examples: [{"text": example.text} for example in examples]
    count = max(1, round(sum(len(example.target.split()) for example in train) / len(train)))
    return lambda examples: [
        {"text": " ".join(example.text.split()[:count])} for example in examples
    ]


class _Words:
    """Words of any script: rouge-score's own keeps the letters a to z alone."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


def _corpus(name: str, pairs: Sequence[tuple[str, str]]) -> float:
    import sacrebleu

    targets, written = [target for target, _ in pairs], [text for _, text in pairs]
    if name == "bleu":
        # Without `force` it warns of texts that seem to be tokenized, which is not ours to change.
        return float(sacrebleu.corpus_bleu(written, [targets], force=True).score)
    return float(sacrebleu.corpus_chrf(written, [targets]).score)
