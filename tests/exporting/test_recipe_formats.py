"""Recipes of somebody else: a file has their formats, or there is none."""

import keras
import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import TensorType

from tests.exporting.test_skeleton import random_network, stored
from tfscale.config import TransformerConfig
from tfscale.errors import ExportError
from tfscale.exporting.scoring import scoring_file
from tfscale.exporting.tflite import export_tflite
from tfscale.models.recipe import Recipe, WeightFormat
from tfscale.registry import RECIPES, register

NETWORK = TransformerConfig(
    vocabulary_size=67,
    sequence_length=8,
    hidden_dim=32,
    num_layers=1,
    num_heads=2,
    tie_embeddings=False,
)


@pytest.fixture
def registered():
    def enter(form, **options):
        """A recipe that has a format for matrices, another for tables, and floats for the rest."""

        class Theirs(Recipe):
            name, words, perplexity_change = "test_theirs", "some", 1e-2

            def format_of(self, weight):
                if weight.summed_axes is None:
                    return WeightFormat(options.get("vectors", 32))
                return options["tables"] if weight.is_table and "tables" in options else form

        for option in ("rounds", "blocks_in", "converted_as"):
            if option in options:
                setattr(Theirs, option, options[option])
        register(Theirs)
        return "test_theirs"

    yield enter
    del RECIPES._registered["test_theirs"]


def test_a_file_has_the_formats_of_the_recipe(registered):
    in_int4 = WeightFormat(4, axis=0, block=32)
    name = registered(in_int4, tables=WeightFormat(32), rounds=True)
    kinds = [kind for kind, *_ in stored(export_tflite(random_network(NETWORK), name, [4]))]
    # By hand: 4 kernels of the block and the output's; tables of tokens and places.
    assert kinds.count(TensorType.INT4) == 5
    assert kinds.count(TensorType.INT8) == 0
    assert kinds.count(TensorType.FLOAT32) >= 1


@pytest.mark.parametrize(
    "form, options, words",
    [
        (WeightFormat(16), {"vectors": 16}, "bits=16.* would have it as .*bits=32"),
        (WeightFormat(8), {}, "bits=8.* would have it as .*bits=32"),
        (WeightFormat(8, axis=1), {"rounds": True}, "axis=1.* would have it as .*axis=0"),
        (WeightFormat(8, block=32), {"rounds": True, "tables": WeightFormat(8, 1)}, "block=32"),
        (WeightFormat(4, block=16), {"rounds": True, "tables": WeightFormat(8, 1)}, "block=16"),
        (
            WeightFormat(4),
            {"rounds": True, "tables": WeightFormat(8, 1)},
            "bits=4, axis=0, block=0",
        ),
        (WeightFormat(8), {"rounds": True, "tables": WeightFormat(16)}, "embeddings as .*bits=16"),
    ],
)
def test_other_formats_are_refused(registered, form, options, words):
    name = registered(form, **options)
    with pytest.raises(ExportError, match=f"^recipe test_theirs stores .*{words}"):
        export_tflite(random_network(NETWORK), name, [4])


@pytest.mark.slow
def test_half_precision_is_that_of_float16(registered):
    name = registered(WeightFormat(16), converted_as="float16")
    network = random_network(NETWORK)
    content = export_tflite(network, name, [4])
    assert stored(content) == stored(export_tflite(network, "float16", [4]))


def test_other_models_are_rounded_as_the_recipe_says_or_not_at_all(registered):
    ids = keras.Input((8,), dtype="int32")
    model = keras.Model(ids, keras.layers.Dense(9)(keras.layers.Embedding(9, 32)(ids)))
    model(np.zeros((1, 8), np.int32))
    name = registered(WeightFormat(8), tables=WeightFormat(32), rounds=True)
    with pytest.raises(ExportError, match="^recipe test_theirs stores .*embeddings as .*bits=32"):
        scoring_file(model, 8, name)
