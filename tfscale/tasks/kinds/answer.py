"""`answer`: the part of a text that answers a question."""

import collections
from collections.abc import Sequence

import numpy as np

from tfscale.config.tasks import TaskConfig
from tfscale.errors import DataError, TokenizerError
from tfscale.files.json_text import JsonObject
from tfscale.registry import register
from tfscale.tasks.examples import OUTSIDE, Example, FieldNames, field_of, text_of
from tfscale.tasks.token_task import TokenTask
from tfscale.tasks.values import Encoded, Shape, log_probabilities
from tfscale.text.tokenizers import Tokenizer

LONGEST = 40
"""Most tokens of an answer."""


@register
class Answer(TokenTask):
    """The tokens of a context that answer a question, to the letter.

    A row is the start token, the question, an end token, and the context. Predictions have
    `answer`, its `start` in the text in characters (-1 for none), and `score`, in nats above no
    answer. The baseline is no answer.

    Raises:
        TokenizerError: the tokenizer changes texts, or its texts were cleaned.
    """

    name = "answer"
    summary = "the part of a text that answers a question"
    title = "Answers in a text"
    metric = "f1"
    takes_question = True

    def __init__(self, config: TaskConfig, tokenizer: Tokenizer, shape: Shape):
        super().__init__(config, tokenizer, shape)
        if not tokenizer.lossless:
            raise TokenizerError(
                f"answers are parts of a text to the letter, and a {tokenizer.kind} tokenizer"
                " changes it; take a run with a sentencepiece or byte tokenizer"
            )
        if tokenizer.cleaner.steps:
            raise TokenizerError(
                "answers are parts of a text to the letter, and the text of this run was cleaned"
                f" by {', '.join(tokenizer.cleaner.steps)}; take a run whose data was prepared"
                " without cleaning"
            )

    @classmethod
    def example(cls, row: JsonObject, where: str, fields: FieldNames, labelled: bool) -> Example:
        name = fields.text if fields.text in row else "context"
        text, question = text_of(row, name, where), text_of(row, "question", where)
        unanswered = Example(where, text, question=question, fields=row)
        if not labelled:
            return unanswered
        label = fields.label if fields.label in row else "answer"
        answer = str(field_of(row, label, where))
        if not answer:
            return unanswered
        start = row.get("answer_start")
        try:
            start = text.find(answer) if start in (None, "") else int(start)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{where}: answer_start is {start!r}; expected the number of characters before it"
            ) from error
        if start < 0 or text[start : start + len(answer)] != answer:
            raise DataError(
                f"{where}: the text does not hold the answer {answer!r}"
                + (f" at {start}" if start >= 0 else "")
            )
        return Example(where, text, question=question, answer=answer, start=start, fields=row)

    @classmethod
    def label_names(cls, config: TaskConfig, train: Sequence[Example]) -> list[str]:
        return [OUTSIDE, "B-ANSWER", "I-ANSWER"]

    def encode(self, example: Example) -> Encoded:
        tokenizer, length = self.tokenizer, self.sequence_length
        question = tokenizer.encode(example.question)[: max(1, length // 2 - 2)]
        context = tokenizer.encode(example.text)
        before = [tokenizer.start_id, *question, tokenizer.end_id]
        offsets = [0]
        for token, previous in zip(context, [None, *context], strict=False):
            offsets.append(offsets[-1] + len(tokenizer.token_bytes(token, previous)))
        kept = max(0, min(len(context), length - 1 - len(before)))
        places = list(range(len(before), len(before) + kept))
        return Encoded(self.window([*before, *context]), places, offsets[: kept + 1])

    def token_targets(self, example: Example, encoded: Encoded) -> list[int]:
        targets = [0] * len(encoded.places)
        begin = len(example.text[: max(0, example.start)].encode())
        end = begin + len(example.answer.encode())
        # An answer that was cut off is no answer.
        if example.start < 0 or encoded.offsets[-1] < end:
            return targets
        offsets = encoded.offsets
        held = [at for at in range(len(targets)) if offsets[at] < end and offsets[at + 1] > begin]
        for at in held:
            targets[at] = 1 if at == held[0] else 2
        return targets

    def decode(self, logits: np.ndarray, example: Example, encoded: Encoded) -> JsonObject:
        logs = log_probabilities(logits)[encoded.places]
        begins, goes_on = logs[:, 1] - logs[:, 0], logs[:, 2] - logs[:, 0]
        sums = np.concatenate([[0.0], np.cumsum(goes_on)])
        # Score, first and last token of the likeliest answer; no answer scores 0.
        best = (0.0, -1, -1)
        for first in range(len(logs)):
            lasts = np.arange(first, min(len(logs), first + LONGEST))
            scores = begins[first] + sums[lasts + 1] - sums[first + 1]
            last = int(scores.argmax())
            best = max(best, (float(scores[last]), first, first + last))
        score, first, last = best
        if first < 0:
            return {"answer": "", "start": -1, "score": 0.0}
        spelled = example.text.encode()
        raw = spelled[encoded.offsets[first] : encoded.offsets[last + 1]].decode("utf-8", "ignore")
        answer = raw.strip()
        start = len(spelled[: encoded.offsets[first]].decode("utf-8", "ignore")) + raw.find(answer)
        return {"answer": answer, "start": start, "score": score}

    def show(self, prediction: JsonObject) -> str:
        return prediction["answer"] or "(no answer)"

    def metrics(self, examples: Sequence[Example], predictions: Sequence[JsonObject]) -> JsonObject:
        """Returns `exact_match`, and `f1` of words."""
        pairs = [
            (_words(example.answer), _words(prediction["answer"]))
            for example, prediction in zip(examples, predictions, strict=True)
        ]
        return {
            "examples": len(pairs),
            "exact_match": sum(known == given for known, given in pairs) / len(pairs),
            "f1": sum(_overlap(known, given) for known, given in pairs) / len(pairs),
        }

    def baseline(self, train: Sequence[Example], examples: Sequence[Example]) -> list[JsonObject]:
        return [{"answer": ""} for _ in examples]


def _words(text: str) -> list[str]:
    return text.lower().split()


def _overlap(known: list[str], given: list[str]) -> float:
    """Returns the F1 of the words of two answers (Rajpurkar et al. 2016); 1 where both are
    empty."""
    if not known or not given:
        return float(known == given)
    same = sum((collections.Counter(known) & collections.Counter(given)).values())
    return 2 * same / (len(known) + len(given))
