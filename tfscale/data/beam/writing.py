"""Tokens to shards: one step that sees all counts, then a step for each shard."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfscale.data.beam.ordering import Plan
from tfscale.data.beam.step import Step
from tfscale.data.beam.tokenizing import Tokens
from tfscale.data.manifest import token_dtype
from tfscale.data.shards import WrittenShard, shard_borders, shard_name, write_shard
from tfscale.data.splits import Part, check_parts
from tfscale.data.tokenizing import Encoded
from tfscale.data.writing import in_order_of_splits, shards_of, shown
from tfscale.text.tokenizers import load_tokenizer


@dataclass(frozen=True)
class Totals:
    """The totals of all batches.

    Attributes:
        plan_path, tokenizer_dir: what `Train` yields.
        parts: the counts of each part that has documents, without content.
        shards: how many shards there are.
    """

    plan_path: str
    tokenizer_dir: str
    parts: Mapping[Part, Encoded]
    shards: int


class Segment(NamedTuple):
    """Bytes of a file of tokens."""

    path: str
    start: int
    size: int


class ShardTask(NamedTuple):
    """A shard to write.

    Attributes:
        totals_path: of the `Totals`.
        part: its part.
        number: its number among the shards of the part.
        name: of its file.
        token_size: bytes of a token.
        segments: its tokens, in order.
    """

    totals_path: str
    part: Part
    number: int
    name: str
    token_size: int
    segments: Sequence[Segment]


class CutShards(Step):
    """Works out where shards begin; yields a `ShardTask` for each."""

    rank = 7

    def work(
        self, element: tuple[tuple[str, str], Iterable[tuple[int, dict[Part, Tokens]]]]
    ) -> Iterator[ShardTask]:
        """Takes what `Train` yields, and the tokens of all batches."""
        (plan_path, tokenizer_dir), found = element
        # A batch that is there twice counts once.
        batches = [tokens for _, tokens in sorted(dict(found).items())]
        plan: Plan = self.folder.load(plan_path)
        if len(batches) < plan.batches:
            return  # A worker could not do its part, and has left a message.
        config = self.job.config
        totals: dict[Part, Encoded] = {}
        for batch in batches:
            for part, tokens in batch.items():
                totals.setdefault(part, Encoded()).add(tokens.encoded)
        check_parts(config, totals)
        parts = in_order_of_splits(totals)
        counts = {part: shards_of(part, totals[part], config.shards) for part in parts}
        dtype = np.dtype(token_dtype(load_tokenizer(tokenizer_dir).vocabulary_size))
        totals_path = self.folder.save(
            "totals", Totals(plan_path, tokenizer_dir, totals, sum(counts.values()))
        )
        for part, count in counts.items():
            segments = [
                Segment(batch[part].path, batch[part].start, batch[part].encoded.tokens)
                for batch in batches
                if part in batch
            ]
            for number, own in enumerate(_cut(segments, count, dtype.itemsize)):
                name = shard_name(shown(part), number, count)
                yield ShardTask(totals_path, part, number, name, dtype.itemsize, own)


def _cut(segments: Sequence[Segment], shards: int, token_size: int) -> Iterator[list[Segment]]:
    """Cuts segments, whose sizes are in tokens, into those of each shard, in bytes."""
    ends = np.cumsum([segment.size for segment in segments], dtype=np.int64)
    borders = shard_borders(int(ends[-1]), shards)
    for first, end in itertools.pairwise(borders):
        own = []
        for number in range(int(ends.searchsorted(first, "right")), len(segments)):
            segment = segments[number]
            begins = int(ends[number]) - segment.size
            if begins >= end:
                break
            start, stop = max(first, begins), min(end, begins + segment.size)
            offset = segment.start + (start - begins) * token_size
            own.append(Segment(segment.path, offset, (stop - start) * token_size))
        yield own


class WriteShard(Step):
    """Writes a shard; yields its task, its file and what was written."""

    rank = 8

    def work(self, task: ShardTask) -> Iterator[tuple[str, tuple[ShardTask, str, WrittenShard]]]:
        """Takes a task of `CutShards`."""
        path = self.folder.new("shard")
        size = sum(segment.size for segment in task.segments)
        tokens = size // task.token_size
        written = write_shard(path, task.name, _Joined(task.segments), tokens, task.token_size)
        yield task.totals_path, (task._replace(segments=()), path, written)


class _Joined:
    """The bytes of segments, one after the other."""

    def __init__(self, segments: Sequence[Segment]):
        self._segments = list(reversed(segments))

    def read(self, size: int, /) -> bytes:
        """Returns the next bytes, as many where there are."""
        parts: list[bytes] = []
        while size and self._segments:
            path, start, length = self._segments.pop()
            if length > size:
                self._segments.append(Segment(path, start + size, length - size))
                length = size
            with open(path, "rb") as file:
                file.seek(start)
                parts.append(file.read(length))
            size -= length
        return b"".join(parts)


@dataclass(frozen=True)
class Outcome:
    """The files that the pipeline wrote into the shared folder.

    Attributes:
        tokenizer_dir: the tokenizer.
        plan: the counts of the documents.
        totals: the counts of each part.
        shards: name of each shard -> its file.
        written: the shards of each part, in order.
    """

    tokenizer_dir: str
    plan: Plan
    totals: Mapping[Part, Encoded]
    shards: Mapping[str, str]
    written: Mapping[Part, list[WrittenShard]]


class Finish(Step):
    """Leaves what was written as the outcome."""

    rank = 9

    def work(
        self, element: tuple[str, Iterable[tuple[ShardTask, str, WrittenShard]]]
    ) -> Iterator[Any]:
        """Takes the path of the totals, and what `WriteShard` yields for all shards."""
        totals: Totals = self.folder.load(element[0])
        # A shard that was written twice counts once.
        found = {(task.part, task.number): (path, shard) for task, path, shard in element[1]}
        if len(found) < totals.shards:
            return  # A worker could not do its part, and has left a message.
        written: dict[Part, list[WrittenShard]] = {}
        for (part, _), (_, shard) in sorted(found.items(), key=lambda item: item[0][1]):
            written.setdefault(part, []).append(shard)
        shards = {shard.shard.file: path for path, shard in found.values()}
        plan: Plan = self.folder.load(totals.plan_path)
        self.folder.finish(Outcome(totals.tokenizer_dir, plan, totals.parts, shards, written))
        yield from ()
