"""Files of names and values against the dataclass that says what they hold."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from tfscale.errors import CheckpointError, ConfigError, DataError
from tfscale.files.fields import check_fields, from_fields


@dataclass
class Part:
    name: str
    weight: float = 1.0


@dataclass
class Whole:
    kind: Literal["a", "b"]
    size: int
    parts: list[Part] = field(default_factory=list)
    by_name: dict[str, Part] = field(default_factory=dict)
    other: str | None = None
    anything: Any = None

    def __post_init__(self):
        if self.size < 0:
            raise ConfigError(f"size={self.size} is out of range")


def test_dataclasses_are_made_of_what_was_read():
    content = {
        "kind": "a",
        "size": 3,
        "parts": [{"name": "x", "weight": 2}],
        "by_name": {"y": {"name": "z"}},
        "other": None,
        "anything": [1, {}],
    }
    assert from_fields(Whole, content, "f") == Whole(
        "a", 3, [Part("x", 2)], {"y": Part("z")}, None, [1, {}]
    )


@pytest.mark.parametrize(
    "change,message",
    [
        ({"size": "3"}, "f: size should be a whole number; received '3'"),
        ({"size": True}, "f: size should be a whole number; received True"),
        ({"size": 1.5}, "f: size should be a whole number; received 1.5"),
        ({"size": 10**5000}, "f: size should be .*"),
        ({"size": -1}, "f: size=-1 is out of range"),
        ({"kind": "c"}, "f: kind should be one of a, b; received 'c'"),
        ({"kind": []}, "f: kind should be one of a, b; received a list"),
        ({"parts": [{"name": None}]}, r"f: parts\[0\]: name should be text; received None"),
        ({"parts": [{}]}, r"f: parts\[0\]: name is missing"),
        ({"parts": {}}, "f: parts should be a list, each Part; received a dict"),
        ({"by_name": {"y": 3}}, "f: by_name.y should hold names and values; received 3"),
        ({"other": 3}, "f: other should be text or null; received 3"),
        (
            {"extra": 3},
            "f: unknown name 'extra'; there are kind, size, parts, by_name, other, anything",
        ),
        ({3: 3}, "f: unknown name 3; there are"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place(change, message):
    if change.get("size") == 10**5000:  # Large is no other type.
        assert from_fields(Whole, {"kind": "a"} | change, "f").size == 10**5000
        return
    with pytest.raises(CheckpointError, match=f"^{message}"):
        from_fields(Whole, {"kind": "a", "size": 1} | change, "f", CheckpointError)


def test_other_names_may_be_allowed_but_not_other_types():
    check_fields(
        Whole,
        {"kind": "a", "size": 1, "extra": 3, "parts": [{"name": "x", "more": 1}]},
        "f",
        others=True,
    )
    with pytest.raises(DataError, match="f: size should be a whole number"):
        check_fields(Whole, {"kind": "a", "size": None, "extra": 3}, "f", others=True)
    for content in (None, [], "x", 3):
        with pytest.raises(DataError, match="f should hold names and values; received"):
            check_fields(Whole, content, "f", others=True)
