"""`tag`: a label of each word, in BIO."""

import collections
from collections.abc import Sequence

import numpy as np

from tfscale.config.tasks import TaskConfig
from tfscale.errors import DataError
from tfscale.files.json_text import JsonObject
from tfscale.registry import register
from tfscale.tasks.examples import OUTSIDE, Example, FieldNames, check_bio
from tfscale.tasks.token_task import TokenTask
from tfscale.tasks.values import Encoded, log_probabilities


@register
class Tag(TokenTask):
    """A BIO tag of each word, at the word's first token.

    Predictions have `words` and `tags`, legal BIO, and O for words that were cut off. The baseline
    is each word's most frequent tag in the training examples, and O for other words.
    """

    name = "tag"
    summary = "a label of each word (BIO)"
    title = "Tags of words"
    metric = "f1"
    package = "nervaluate"
    reads_words = True

    @classmethod
    def example(cls, row: JsonObject, where: str, fields: FieldNames, labelled: bool) -> Example:
        words = row.get("words", row.get("tokens"))
        tags = row.get("tags", row.get(fields.label))
        if not isinstance(words, list) or not words or (labelled and not isinstance(tags, list)):
            raise DataError(
                f'{where}: tags come as {{"words": ["Ann", "left"], "tags": ["B-PER", "O"]}}, or'
                " as .conll"
            )
        words = [str(word) for word in words]
        if any(not word.strip() or word.split() != [word] for word in words):
            raise DataError(f"{where}: a word is empty or holds white space: {words}")
        tags = [str(tag) for tag in tags] if labelled and tags else []
        if labelled and len(words) != len(tags):
            raise DataError(
                f"{where}: {len(words)} words and {len(tags)} tags; each word needs one"
            )
        check_bio(tags, where)
        return Example(where, " ".join(words), tuple(tags), tuple(words), fields=row)

    @classmethod
    def label_names(cls, config: TaskConfig, train: Sequence[Example]) -> list[str]:
        names = {label for example in train for label in example.labels}
        # Where an entity may have a first word, it may have a second one.
        inside = {f"I-{tag[2:]}" for tag in names if tag.startswith("B-")}
        return sorted(names | inside | {OUTSIDE})

    def text_example(self, text: str, question: str) -> Example:
        words = tuple(text.split())
        return Example("the text", " ".join(words), words=words)

    def encode(self, example: Example) -> Encoded:
        ids, places = [self.tokenizer.start_id], []
        for number, word in enumerate(example.words):
            cleaned = self.tokenizer.cleaner(word)
            encode = self.tokenizer.encode_continued if number else self.tokenizer.encode
            pieces = encode(" " + cleaned if number else cleaned)
            places.append(len(ids))
            # A word without tokens needs one that can be labelled.
            ids += pieces or [self.tokenizer.end_id]
        return Encoded(self.window(ids), [at for at in places if at < self.sequence_length - 1])

    def token_targets(self, example: Example, encoded: Encoded) -> list[int]:
        tags = example.labels[: len(encoded.places)]
        return [self.label_number(tag, example) for tag in tags]

    def decode(self, logits: np.ndarray, example: Example, encoded: Encoded) -> JsonObject:
        rows = log_probabilities(logits)[encoded.places]
        tags = _legal([self.labels[number] for number in rows.argmax(-1)])
        tags += [OUTSIDE] * (len(example.words) - len(tags))
        return {"words": list(example.words), "tags": tags}

    def show(self, prediction: JsonObject) -> str:
        pairs = zip(prediction["words"], prediction["tags"], strict=True)
        return " ".join(f"{word}/{tag}" if tag != OUTSIDE else word for word, tag in pairs)

    def metrics(self, examples: Sequence[Example], predictions: Sequence[JsonObject]) -> JsonObject:
        """Returns `accuracy` of tags, `precision`, `recall` and `f1` of entities, `by_type`."""
        truth = [list(example.labels) for example in examples]
        given = [list(prediction["tags"]) for prediction in predictions]
        right = sum(
            a == b
            for known, predicted in zip(truth, given, strict=True)
            for a, b in zip(known, predicted, strict=True)
        )
        figures = {"examples": len(truth), "accuracy": right / sum(map(len, truth))}
        return figures | _entities(truth, given)

    def baseline(self, train: Sequence[Example], examples: Sequence[Example]) -> list[JsonObject]:
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for example in train:
            for word, tag in zip(example.words, example.labels, strict=True):
                counts[word][tag] += 1
        usual = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
        return [{"tags": [usual.get(word, OUTSIDE) for word in e.words]} for e in examples]


def _legal(tags: list[str]) -> list[str]:
    """Returns tags in which an I- that goes on with nothing begins an entity, as evaluations of
    CoNLL count it."""
    legal: list[str] = []
    for tag in tags:
        entity = tag[2:]
        follows = legal and legal[-1] in (f"B-{entity}", f"I-{entity}")
        legal.append(f"B-{entity}" if tag.startswith("I-") and not follows else tag)
    return legal


def _entities(truth: list[list[str]], given: list[list[str]]) -> JsonObject:
    """Returns precision, recall and F1 of whole entities, together and by type; 0 where there are
    none."""
    from nervaluate import Evaluator

    names = ("precision", "recall", "f1")
    types = sorted({tag[2:] for tags in [*truth, *given] for tag in tags if tag != OUTSIDE})
    if not types:
        return {**dict.fromkeys(names, 0.0), "by_type": {}}
    result = Evaluator(truth, given, tags=types, loader="list").evaluate()
    by_type = result["entities"]
    return {
        **{name: float(getattr(result["overall"]["strict"], name)) for name in names},
        "by_type": {
            entity: {name: float(getattr(by_type[entity]["strict"], name)) for name in names}
            for entity in types
        },
    }
