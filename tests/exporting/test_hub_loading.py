"""Folders as `export --format huggingface` writes them, read back without keras-hub."""

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.exporting.hub_networks import CASES, config_of, network_of
from tfscale.exporting.huggingface import write_hub_folder
from tfscale.models.hub_loading import architecture_of, from_hub_folder
from tfscale.models.hub_parts import parts_of


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_read_back(case, tokenizer, tmp_path):
    network = network_of(case)
    write_hub_folder(str(tmp_path), network, tokenizer)
    back = from_hub_folder(str(tmp_path), sequence_length=48)
    ids = np.random.default_rng(1).integers(0, 257, (2, 40)).astype(np.int32)
    # Other kernels of the CPU for other lengths differ by up to 1.3e-5.
    np.testing.assert_allclose(np.asarray(back(ids)), np.asarray(network(ids)), atol=5e-5)
    if CASES[case][0] != "gpt2":  # Its biases are zeros where there were none.
        assert parts_of(back.config) == parts_of(config_of(case))
    assert back.config.norm_epsilon == network.config.norm_epsilon


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_weights_of_other_types_and_fewer_rows(dtype, tokenizer, tmp_path):
    network = network_of("llama")
    write_hub_folder(str(tmp_path), network, tokenizer)
    path = str(tmp_path / "model.safetensors")
    save_file({name: value.astype(dtype) for name, value in load_file(path).items()}, path)
    back = from_hub_folder(str(tmp_path), 16, vocabulary_size=250)
    for have, weight in zip(back.weights, network.weights, strict=True):
        want = np.asarray(weight)
        want = want[:250] if weight.name == "embeddings" else want
        want = want[:, :250] if weight.name == "reverse_embeddings" else want
        np.testing.assert_array_equal(have, want.astype(dtype).astype(np.float32))
    assert architecture_of(str(tmp_path)) == "Llama"
    lower = from_hub_folder(str(tmp_path), 16, "mixed_bfloat16", 250)
    for have, want in zip(lower.get_weights(), back.get_weights(), strict=True):
        np.testing.assert_array_equal(have, want)
