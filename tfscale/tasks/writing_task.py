"""`WritingTask`: tasks that write a text for a text, which translating and summarizing share.

A row has a source part of S and a target part of U tokens. With the architecture "prefix" they are
packed: the start token, the source, the end token, the target, end tokens up to S + U, as a
language model has read its documents. With "encoder_decoder" each part has a place of its own: the
start token, the source, end tokens up to S; the end token, the target, end tokens up to S + U. The
start token is the end token, except in models that were imported with one of their own.

Shapes: N examples, T = S + U tokens of a row, P = T (prefix) or U (encoder_decoder) logits of it, V
vocabulary.
"""

import abc
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfscale.config.tasks import TaskConfig
from tfscale.errors import ConfigError, check_range
from tfscale.files.json_text import JsonObject
from tfscale.tasks.examples import Example, FieldNames, text_of
from tfscale.tasks.task import Task
from tfscale.tasks.values import Computes, Encoded, Prediction, Shape
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    import keras

    from tfscale.runs.folder import Run


class WritingTask(Task):
    """A task whose prediction is a text, written token by token after a source.

    A subclass has `text_scores`, `baseline` and the declarations of `Task`.

    Attributes:
        architecture: "prefix" or "encoder_decoder".
        source_length: S, the source, the start token and the end token.
        target_length: U, most tokens that are written.
        first_logit: the place in a row of the first token that has logits.
    """

    takes = ("architecture", "source_length", "target_length")
    lengths = ("source_length", "target_length")
    learning_rate = 1e-3
    gives = "text"
    compared = 16

    def __init__(self, config: TaskConfig, tokenizer: Tokenizer, shape: Shape):
        super().__init__(config, tokenizer, shape)
        assert shape.source_length is not None and shape.target_length is not None
        self.source_length, self.target_length = shape.source_length, shape.target_length
        self.sequence_length = self.source_length + self.target_length
        self.architecture = config.architecture or "prefix"
        self.first_logit = 0 if self.architecture == "prefix" else self.source_length

    @classmethod
    def check_options(cls, config: TaskConfig) -> None:
        super().check_options(config)
        for name, least in (("source_length", 3), ("target_length", 2)):
            value = getattr(config, name)
            expected = f"0 (half of the run's context), or {least} or more"
            check_range(value == 0 or value >= least, name, value, expected)
        if config.lora_rank and config.architecture == "encoder_decoder":
            raise ConfigError(
                "the attention between the stacks is new and needs more than lora_rank; take prefix"
            )

    @classmethod
    def example(cls, row: JsonObject, where: str, fields: FieldNames, labelled: bool) -> Example:
        # The usual names stand in for the defaults, not for a name that was asked for.
        source, target = fields.text, fields.label
        source = "source" if source == "text" and "text" not in row else source
        text = text_of(row, source, where)
        if not labelled:
            return Example(where, text, fields=row)
        target = "target" if target == "label" and "label" not in row else target
        return Example(where, text, target=text_of(row, target, where), fields=row)

    @classmethod
    def shape_for(cls, run: "Run", config: TaskConfig, train: Sequence[Example]) -> Shape:
        from tfscale.tasks.text_network import text_lengths

        source, target = text_lengths(run, config)
        return Shape([], source + target, source, target)

    def encode(self, example: Example) -> Encoded:
        """Returns the row of an example, whose target part is empty where it has no target.

        The source is cleaned as the text was that the tokenizer was made for. The target stays as
        it is: it says what is to be written.
        """
        tokenizer = self.tokenizer
        source = tokenizer.encode(tokenizer.cleaner(example.text))
        target = tokenizer.encode(example.target) if example.target else []
        kept = source[: self.source_length - 2]
        written = target[: self.target_length - 1]
        start = 1 + len(kept) if self.architecture == "prefix" else self.source_length
        ids = np.full(self.sequence_length, tokenizer.end_id, np.int32)
        ids[0] = tokenizer.start_id
        ids[1 : 1 + len(kept)] = kept
        ids[start + 1 : start + 1 + len(written)] = written
        source_cut, target_cut = len(kept) < len(source), len(target) > self.target_length
        return Encoded(ids, start=start, source_cut=source_cut, target_cut=target_cut)

    def start_of(self, ids: np.ndarray) -> int:
        """Returns `Encoded.start` of ids (T,)."""
        if self.architecture != "prefix":
            return self.source_length
        return 1 + int(np.argmax(ids[1:] == self.tokenizer.end_id))

    def targets(self, example: Example, encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
        """Returns the tokens that are to be written, the target and its end token, and their
        weights, both (P,); 0 elsewhere.

        A target that is cut has no end token: nothing shall learn to end there.
        """
        target = [*self.tokenizer.encode(example.target), self.tokenizer.end_id]
        tokens = target[: self.target_length]
        size = self.sequence_length - self.first_logit
        targets, weights = np.zeros(size, np.int32), np.zeros(size, np.float32)
        first = encoded.start - self.first_logit
        targets[first : first + len(tokens)] = tokens
        weights[first : first + len(tokens)] = 1
        return targets, weights

    def network(self, run: "Run") -> "keras.Model":
        from tfscale.tasks.text_network import text_network

        return text_network(
            run,
            self.config,
            self.architecture,
            sequence_length=self.sequence_length,
            source_length=self.source_length,
            target_length=self.target_length,
        )

    @property
    def network_note(self) -> str:
        return self.architecture

    def summarize_cuts(
        self, splits: Mapping[str, Sequence[Example]], note: Callable[[str], None]
    ) -> dict[str, object]:
        """Returns `architecture`, and `cut`: how many sources and targets of each split are too
        long."""
        cut = {}
        for name, examples in splits.items():
            rows = [self.encode(example) for example in examples]
            sources = sum(row.source_cut for row in rows)
            targets = sum(row.target_cut for row in rows)
            cut[name] = {"sources": sources, "targets": targets}
            if sources or targets:
                note(
                    f"{name}: {sources:,} sources and {targets:,} targets are too long and were cut"
                )
        return {"architecture": self.architecture, "cut": cut}

    def predict(
        self, model: Computes, examples: Sequence[Example], beams: int = 1
    ) -> list[Prediction]:
        # What is to be written must not be read.
        sources = [self.encode(dataclasses.replace(example, target="")) for example in examples]
        ids = np.stack([row.ids for row in sources])
        starts = np.array([row.start for row in sources])
        return [
            Prediction(self.show, {"text": self.tokenizer.decode(list(map(int, tokens))).strip()})
            for tokens in model.write(ids, starts, beams)
        ]

    def decode(self, logits: np.ndarray, example: Example, encoded: Encoded) -> JsonObject:
        """Returns the text of the likeliest tokens after a target that is known."""
        first = encoded.start - self.first_logit
        tokens = logits[first : first + self.target_length].argmax(-1).tolist()
        return {"text": self.tokenizer.decode(self.before_end(tokens)).strip()}

    def before_end(self, tokens: list[int]) -> list[int]:
        """Returns the tokens before the first of the tokenizer's stop tokens."""
        stops = self.tokenizer.stop_ids
        return list(itertools.takewhile(lambda token: token not in stops, tokens))

    def show(self, prediction: JsonObject) -> str:
        return str(prediction["text"])

    @abc.abstractmethod
    def text_scores(self, pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
        """Returns the scores of pairs of a target and the text that was written, together."""

    def metrics(self, examples: Sequence[Example], predictions: Sequence[JsonObject]) -> JsonObject:
        """Returns `exact_match`, and what `text_scores` gives."""
        pairs = pairs_of(examples, predictions)
        same = sum(target.split() == text.split() for target, text in pairs)
        scores = self.text_scores(pairs)
        return {"examples": len(pairs), "exact_match": same / len(pairs), **scores}

    @property
    def read_length(self) -> int:
        return self.source_length

    @property
    def logits_shape(self) -> tuple[int, int]:
        return self.sequence_length - self.first_logit, self.tokenizer.vocabulary_size

    def random_rows(self) -> tuple[np.ndarray, np.ndarray]:
        # Whole sources and targets, without an end token inside.
        end, ids = self.tokenizer.end_id, self.random_ids()
        start = self.source_length - (self.architecture == "prefix")
        ids[ids == end] = (end + 1) % self.tokenizer.vocabulary_size
        ids[:, [self.source_length - 1, start]] = end
        ids[:, 0] = self.tokenizer.start_id
        first = start - self.first_logit
        counted = np.zeros((self.compared, self.logits_shape[0]), bool)
        counted[:, first : first + self.target_length] = True
        return ids, counted


def pairs_of(
    examples: Sequence[Example], predictions: Sequence[JsonObject]
) -> list[tuple[str, str]]:
    """Returns pairs of the target of an example and the text that was written for it."""
    return [
        (example.target, prediction["text"])
        for example, prediction in zip(examples, predictions, strict=True)
    ]
