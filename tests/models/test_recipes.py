"""Recipes: each is one class, and one that is defined elsewhere is a choice like any other."""

import pytest

from tfscale.config import ExportConfig
from tfscale.config.compression import CompressConfig
from tfscale.errors import ConfigError
from tfscale.models.recipe import Recipe, StoredWeight, WeightFormat, recipe
from tfscale.registry import RECIPES, register


@pytest.mark.parametrize(
    "name, matrix, table, gates, vector",
    [
        ("none", (32, 0), (32, 0), (32, 0), (32, 0)),
        ("float16", (16, 0), (16, 0), (16, 0), (32, 0)),
        ("int8", (8, 0), (8, 0), (8, 4), (32, 0)),
        ("int4", (4, 0), (8, 0), (8, 4), (32, 0)),
        ("int4_all", (4, 0), (4, 0), (8, 4), (32, 0)),
    ],
)
def test_bits_and_gates_of_each_weight(name, matrix, table, gates, vector):
    weights = (
        (StoredWeight((64, 96), (0,)), matrix),
        (StoredWeight((50, 64), (1,), is_table=True), table),
        (StoredWeight((64, 96), (0,), fused_gates=4), gates),
        (StoredWeight((64,), None), vector),
    )
    for weight, expected in weights:
        form = recipe(name).format_of(weight)
        assert (form.bits, form.gates) == expected
        assert form.block == (64 if form.bits == 4 else 0)


def test_only_recipes_that_round_are_trained_for_and_searched():
    assert [name for name in RECIPES.names() if recipe(name).rounds] == ["int4", "int4_all", "int8"]
    assert all(bool(kind.worth) == kind.rounds for kind in RECIPES)


def test_a_recipe_of_somebody_else_is_an_option():
    @register
    class Bfloat16(Recipe):
        name, words, perplexity_change = "test_bfloat16", "bfloat16", 1e-2

        def format_of(self, weight: StoredWeight) -> WeightFormat:
            return WeightFormat(bits=16)

    assert ExportConfig(output="x", quantize="test_bfloat16").quantize in RECIPES
    assert recipe("test_bfloat16").format_of(StoredWeight((2, 2), (0,))).bits == 16
    del RECIPES._registered["test_bfloat16"]


def test_names_that_are_none():
    with pytest.raises(
        ConfigError, match="quantize: expected one of float16, int4, int4_all, int8"
    ):
        ExportConfig(output="x", quantize="int5")
    with pytest.raises(ConfigError, match="quantize: expected one of int4, int4_all, int8, none"):
        CompressConfig(output="x", quantize="float16")
    with pytest.raises(ConfigError, match="no quantization recipe 'int9'; did you mean"):
        recipe("int9")
