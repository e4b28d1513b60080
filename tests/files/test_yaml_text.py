"""Small files that stand for more than any memory holds."""

import pytest
import yaml

from tfscale.files.yaml_text import LARGEST, load_yaml

BOMB = "a: &a [x, x, x]\n" + "".join(
    f"{after}: &{after} [*{name}, *{name}, *{name}, *{name}, *{name}, *{name}, *{name}, *{name}, *{name}]\n"
    for name, after in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_aliases_that_stay_small_are_read():
    text = "a: &a [1, 2.5]\nb: *a\nc: {<<: {d: e}, f: *a}\n"
    assert (
        load_yaml(text)
        == yaml.safe_load(text)
        == {"a": [1, 2.5], "b": [1, 2.5], "c": {"d": "e", "f": [1, 2.5]}}
    )
    assert load_yaml("") is None and load_yaml("# nothing") is None


@pytest.mark.parametrize(
    "text,message",
    [
        (BOMB, "its aliases make more than 100,000 values of it"),
        ("a: &a {b: *a}", "a value contains itself"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_what_is_larger_than_it_looks_is_refused(text, message):
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)
    assert len(BOMB) < 500  # And 9^9 values: it would not end.


def test_the_bound_counts_every_value_once_for_each_place():
    row = "[" + ", ".join(["1"] * 999) + "]"  # 1,000 with itself
    assert len(load_yaml(f"[&r {row}" + ", *r" * 98 + "]")) == 99
    with pytest.raises(yaml.YAMLError, match="values"):
        load_yaml(f"[&r {row}" + ", *r" * (LARGEST // 1000 - 1) + "]")
