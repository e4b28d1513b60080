"""The origin of a run besides its model, its training options and its data.

It is kept in config.yaml, checked when the run is resumed, and alike in all workers.
"""

import dataclasses
from collections.abc import Mapping

from tfscale.files.json_text import JsonObject


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The origin of a run that is more than a training from scratch; None where it is not.

    Attributes:
        prune, shrink, quantize, distill: the options by which a run was made smaller or taught.
        started_from: digest of the weights that it began with.
        teacher_digest: digest of the teacher's weights.
        vectors_digest: SHA-256 of the file of word vectors.
    """

    prune: JsonObject | None = None
    shrink: JsonObject | None = None
    quantize: JsonObject | None = None
    distill: JsonObject | None = None
    started_from: str | None = None
    teacher_digest: str | None = None
    vectors_digest: str | None = None

    def to_dict(self) -> JsonObject:
        """Returns the content for config.yaml, without what is None."""
        return {name: value for name, value in vars(self).items() if value is not None}


DIGESTS = {
    "started_from": "weights",
    "teacher_digest": "weights of the teacher",
    "vectors_digest": "vectors",
}
"""The digests, and what they are of."""
_NAMES = tuple(field.name for field in dataclasses.fields(Provenance))
SECTIONS = ("model", "train", *(name for name in _NAMES if name not in DIGESTS))
"""The options in the config.yaml of a run."""
USED_XLA = "used_xla"
"""Key of whether XLA compiles the steps, where a trial chose it: a resumed run takes it over."""
RECORDED = ("data_digest", "tokenizer_digest", USED_XLA, *_NAMES[:3], *DIGESTS)
"""Keys in the config.yaml of a run that are not options of `tfscale train`, which takes such a
file."""


def alike(described: Mapping[str, JsonObject]) -> JsonObject:
    """Returns what all workers of a run must be started with: its options and digests.

    Args:
        described: the content of config.yaml.
    """
    options = {
        f"{section}.{name}": value
        for section in SECTIONS
        for name, value in described.get(section, {}).items()
    }
    return options | {
        "data (its shards' digests)": described["data_digest"],
        "tokenizer": described["tokenizer_digest"],
        "first weights": described.get("started_from"),
        "teacher": described.get("teacher_digest"),
        "vectors": described.get("vectors_digest"),
    }
