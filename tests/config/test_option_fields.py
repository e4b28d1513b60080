"""What the fields of config classes tell: documentation, order, and which are rare."""

import dataclasses
import linecache
from dataclasses import dataclass

from tfscale.config import TrainConfig
from tfscale.config.families.lstm import LSTMConfig
from tfscale.config.fields import (
    default_of,
    field_docs,
    is_rare,
    option_fields,
    rare,
    summary_of,
)
from tfscale.config.options import Options


@dataclass(frozen=True, kw_only=True)
class Base(Options):
    """Options of a base.

    More about them.
    """

    size: int = 1
    """Size of the base,
    in bytes."""
    words: list[str] = rare(["a", "b"])
    """Words."""


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    """Options of a class, said in a text that goes on
    in a second line."""

    name: str
    """Name that must be given."""
    speed: float = rare(0.5)
    size: int = 2
    """Size of the class."""


def test_docs_are_those_under_the_fields_and_a_class_goes_before_its_bases():
    assert field_docs(Base) == {"size": "Size of the base, in bytes.", "words": "Words."}
    assert field_docs(Derived) == {
        "size": "Size of the class.",
        "words": "Words.",
        "name": "Name that must be given.",
    }
    assert summary_of(Base) == "Options of a base."
    assert (
        summary_of(Derived) == "Options of a class, said in a text that goes on in a second line."
    )


def test_every_option_of_training_has_its_text():
    for config in (TrainConfig, LSTMConfig):
        docs = field_docs(config)
        assert all(docs[field.name] for field in dataclasses.fields(config))
    assert field_docs(TrainConfig)["clip_norm"] == "Largest global gradient norm; 0 does not clip."


def test_fields_of_the_class_come_before_those_of_its_bases():
    assert [field.name for field in option_fields(Derived)] == ["name", "speed", "size", "words"]
    names = [field.name for field in option_fields(TrainConfig)]
    assert names[0] == "steps" and names.index("tensorboard") < names.index("micro_batches")
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(TrainConfig))


def test_rare_options_keep_their_defaults_and_are_checked():
    marked = {field.name: is_rare(field) for field in option_fields(Derived)}
    assert marked == {"name": False, "speed": True, "size": False, "words": True}
    first, second = Derived(name="x"), Derived(name="y")
    assert (first.speed, first.words, Derived.speed) == (0.5, ["a", "b"], 0.5)
    assert first.words is not second.words
    defaults = [default_of(field) for field in option_fields(Derived)]
    assert defaults == [dataclasses.MISSING, 0.5, 2, ["a", "b"]]
    assert Derived(name="x", speed=2).speed == 2.0


def test_a_class_inside_of_a_function_has_docs_and_one_without_source_none():
    @dataclass(frozen=True, kw_only=True)
    class Local(Options):
        """A local class."""

        depth: int = 3
        """Depth."""

    assert field_docs(Local) == {"depth": "Depth."}
    scope: dict = {"__name__": "no_such_module"}
    exec(
        "from dataclasses import dataclass\n\n@dataclass\nclass Plain:\n    width: int = 1\n    'Width.'\n",
        scope,
    )
    linecache.clearcache()
    assert field_docs(scope["Plain"]) == {}
