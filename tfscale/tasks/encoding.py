"""Examples as numbers, and a model's numbers as labels. NumPy only: training and device do the
same.

An example is the start token, its text, the end token, and end tokens up to the window's length. A
text of several parts (question and context) has an end token between them.

Shapes: N examples, T tokens of a window, C labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfscale.errors import DataError, TokenizerError
from tfscale.tasks.examples import OUTSIDE, Example
from tfscale.text.tokenizers import Tokenizer

ANSWER_TAGS = (OUTSIDE, "B-ANSWER", "I-ANSWER")
LONGEST_ANSWER = 40
"""Most tokens of an answer."""


@dataclass(frozen=True)
class Encoded:
    """One example.

    `ids` (T,); `places` in it of the tokens that have a label of their own: the first ones of
    words, or those of a context; of a context the byte `offsets` at which its tokens begin, and at
    which the last one ends. Words and tokens that were cut off have none.
    """

    ids: np.ndarray
    places: list[int]
    offsets: list[int]


class TaskEncoder:
    """Examples to ids, and logits to predictions.

    Args:
        task: "classify", "tag" or "answer".
        tokenizer: the model's.
        labels: names, in the order of the logits.
        sequence_length: T.
        several: whether a text may have several labels or none.
    """

    def __init__(
        self,
        task: str,
        tokenizer: Tokenizer,
        labels: Sequence[str],
        sequence_length: int,
        several: bool = False,
    ):
        self.task, self.tokenizer, self.labels, self.several = (
            task,
            tokenizer,
            list(labels),
            several,
        )
        self.sequence_length = sequence_length
        self._numbers = {label: number for number, label in enumerate(self.labels)}
        if task == "answer" and not tokenizer.lossless:
            raise TokenizerError(
                f"answers are parts of a text to the letter, and a {tokenizer.kind} tokenizer"
                " changes it; take a run with a sentencepiece or byte tokenizer"
            )
        if task == "answer" and tokenizer.cleaner.steps:
            raise TokenizerError(
                "answers are parts of a text to the letter, and the text of this run was cleaned"
                f" by {', '.join(tokenizer.cleaner.steps)}; take a run whose data was prepared"
                " without cleaning"
            )

    def encode(self, example: Example) -> Encoded:
        """The ids of an example, cut at the window's length, and the places of its labels."""
        start, end = self.tokenizer.start_id, self.tokenizer.end_id
        places: list[int] = []
        offsets: list[int] = []
        if self.task == "tag":
            ids = [start]
            for number, word in enumerate(example.words):
                cleaned = self.tokenizer.cleaner(word)
                pieces = (
                    self.tokenizer.encode_continued(" " + cleaned)
                    if number
                    else self.tokenizer.encode(cleaned)
                )
                # A word is told by its first token.
                places.append(len(ids))
                ids += pieces or [end]
        elif self.task == "answer":
            question = self.tokenizer.encode(example.question)[
                : max(1, self.sequence_length // 2 - 2)
            ]
            ids = [start, *question, end]
            used, context = 0, self.tokenizer.encode(example.text)
            for number, token in enumerate(context):
                places.append(len(ids) + number)
                offsets.append(used)
                used += len(
                    self.tokenizer.token_bytes(token, context[number - 1] if number else None)
                )
            ids += context
            offsets.append(used)
        else:
            ids = [start, *self.tokenizer.encode(self.tokenizer.cleaner(example.text))]
        length = self.sequence_length
        ids = ids[: length - 1]
        window = np.full(length, end, np.int32)
        window[: len(ids)] = ids
        kept = [place for place in places if place < len(ids)]
        return Encoded(window, kept, offsets[: len(kept) + 1])

    def targets(self, example: Example, encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
        """What the network is to say and how much each part of it weighs, both (P,); see
        `TaskNetwork`.

        Raises:
            DataError: a label that the task does not have.
        """
        if self.task == "classify":
            numbers = [self._number(label, example) for label in example.labels]
            if not self.several:
                return np.array(numbers, np.int32), np.ones(1, np.float32)
            targets = np.zeros(len(self.labels), np.int32)
            targets[numbers] = 1
            return targets, np.full(len(self.labels), 1 / len(self.labels), np.float32)
        targets = np.zeros(self.sequence_length, np.int32)
        weights = np.zeros(self.sequence_length, np.float32)
        weights[encoded.places] = 1
        if self.task == "tag":
            numbers = [self._number(tag, example) for tag in example.labels[: len(encoded.places)]]
            targets[encoded.places] = numbers
        elif example.start >= 0:
            first, last = self._answer_tokens(example, encoded)
            if first is not None:
                targets[encoded.places[first]] = 1
                targets[[encoded.places[at] for at in range(first + 1, last + 1)]] = 2
        return targets, weights

    def _answer_tokens(self, example: Example, encoded: Encoded) -> Any:
        """First and last token of the context that hold the answer; None where it was cut off."""
        begin = len(example.text[: example.start].encode())
        end = begin + len(example.answer.encode())
        holding = [
            at
            for at in range(len(encoded.places))
            if encoded.offsets[at] < end and encoded.offsets[at + 1] > begin
        ]
        cut = encoded.offsets[len(encoded.places)] < end
        return (None, None) if cut or not holding else (holding[0], holding[-1])

    def check_labels(self, examples: Sequence[Example]) -> None:
        """Refuses examples that are labelled otherwise than those of the training.

        Raises:
            DataError: names the first example and its label.
        """
        if self.task in ("classify", "tag"):
            for example in examples:
                for label in example.labels:
                    self._number(label, example)

    def _number(self, label: str, example: Example) -> int:
        if label not in self._numbers:
            raise DataError(
                f"{example.where}: label {label!r} does not occur in the training examples; they"
                f" have {', '.join(self.labels[:12])}{' ...' if len(self.labels) > 12 else ''}"
            )
        return self._numbers[label]

    def decode(self, logits: np.ndarray, example: Example, encoded: Encoded) -> dict[str, Any]:
        """The prediction that logits (P, C) stand for.

        Returns:
            classify: `label` (or `labels`) and `probabilities` by label. tag: `words` and `tags`,
                legal BIO, O for
            words that were cut off. answer: `answer`, its `start` in the text, and `score`, in nats
                above no answer.
        """
        logits = np.asarray(logits, np.float64)
        log = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        log -= logits.max(-1, keepdims=True)
        if self.task == "classify":
            if self.several:
                chances = np.exp(log[:, 1])
                named = dict(zip(self.labels, map(float, chances), strict=True))
                return {
                    "labels": [label for label, p in named.items() if p > 0.5],
                    "probabilities": named,
                }
            named = dict(zip(self.labels, map(float, np.exp(log[0])), strict=True))
            return {"label": max(named, key=lambda label: named[label]), "probabilities": named}
        rows = log[encoded.places]
        if self.task == "tag":
            tags = self._legal([self.labels[number] for number in rows.argmax(-1)])
            tags += [OUTSIDE] * (len(example.words) - len(tags))
            return {"words": list(example.words), "tags": tags}
        return self._best_answer(rows, example, encoded)

    @staticmethod
    def _legal(tags: list[str]) -> list[str]:
        """An I- that goes on with nothing begins an entity, as evaluations of CoNLL count it."""
        legal: list[str] = []
        for tag in tags:
            kind = tag[2:]
            follows = legal and legal[-1] in (f"B-{kind}", f"I-{kind}")
            legal.append(f"B-{kind}" if tag.startswith("I-") and not follows else tag)
        return legal

    @staticmethod
    def _best_answer(rows: np.ndarray, example: Example, encoded: Encoded) -> dict[str, Any]:
        begins, goes_on = rows[:, 1] - rows[:, 0], rows[:, 2] - rows[:, 0]
        sums = np.concatenate([[0.0], np.cumsum(goes_on)])
        best = (0.0, -1, -1)
        for first in range(len(rows)):
            ends = np.arange(first, min(len(rows), first + LONGEST_ANSWER))
            scores = begins[first] + sums[ends + 1] - sums[first + 1]
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
