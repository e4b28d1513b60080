"""The options of the step are declared once, and are the same for a run and for `compile`."""

import dataclasses

import pytest

from tfscale.config.step import CompileOptions, StepKeywords, StepOptions
from tfscale.config.train import TrainConfig
from tfscale.errors import ConfigError

CHOICES = {"remat", "document_mask", "document_positions"}
"""Options that are no numbers."""


def types(config_class):
    return {field.name: field.type for field in dataclasses.fields(config_class)}


def test_keywords_of_compile_are_its_options():
    assert StepKeywords.__annotations__ == types(CompileOptions)
    assert not StepKeywords.__required_keys__


def test_a_run_compiles_with_its_options():
    changed = {
        "micro_batches": 2,
        "remat": True,
        "loss_chunk_tokens": 5,
        "clip_norm": 0.5,
        "label_smoothing": 0.1,
        "ema_decay": 0.9,
        "document_mask": True,
        "document_positions": "continue",
        "seed": 3,
    }
    assert set(changed) == set(types(StepOptions))
    options = TrainConfig(**changed).compile_options(
        xla=False, streams=4, pass_steps=6, document_start=8
    )
    assert dataclasses.asdict(options) == {
        **changed,
        "xla": False,
        "streams": 4,
        "pass_steps": 6,
        "document_start": 8,
        "document_end": None,
    }


def test_without_documents_apart_their_start_is_no_option():
    assert TrainConfig().compile_options(xla=False, document_start=8).document_start is None


@pytest.mark.parametrize(
    "options, message",
    [
        ({"document_mask": True}, "document_mask=True needs document_start, the id"),
        ({"document_start": 3}, "document_start=3 has no effect without document_mask=True"),
        ({"document_start": -1, "document_mask": True}, "document_start=-1 is out of range"),
        ({"document_positions": "continue"}, "document_positions=continue has no effect"),
    ],
)
def test_options_of_documents_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError, match=message):
        CompileOptions(**options)


def test_a_run_names_its_option():
    with pytest.raises(ConfigError, match=r"^train.document_positions=continue has no effect with"):
        TrainConfig(document_positions="continue")


@pytest.mark.parametrize("config_class", [TrainConfig, CompileOptions])
@pytest.mark.parametrize("name", sorted(set(types(StepOptions)) - CHOICES))
def test_values_out_of_range_are_refused_by_the_name_of_the_option(config_class, name):
    section = f"{config_class.section}." if config_class.section else ""
    with pytest.raises(ConfigError, match=f"^{section}{name}=-1.* is out of range; expected"):
        config_class(**{name: -1})
