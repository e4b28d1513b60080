"""A tokenizer of another library in a folder for Hugging Face."""

import dataclasses
import json

import numpy as np

from tests.exporting.exported import make_run
from tests.exporting.gguf_models import json_file, json_of_pieces
from tests.exporting.hub_networks import config_of
from tests.text.theirs import sentencepiece_model
from tfscale.config import ExportConfig
from tfscale.exporting.export import export_run
from tfscale.models import build_network
from tfscale.text.tokenizers import load_tokenizer
from tfscale.text.tokenizers.special import SpecialTokens


def test_a_model_that_was_taken_keeps_its_name(tmp_path):
    """And the tokens that end a text are those of the run."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    model = sentencepiece_model(["the quick brown fox jumps over the lazy dog\n" * 20], "llama2")
    (theirs / "spiece.model").write_bytes(model)
    (theirs / "tokenizer_config.json").write_text('{"chat_template": "{{ x }}"}')
    (theirs / "generation_config.json").write_text('{"eos_token_id": [2, 1], "top_k": 3}')
    taken = load_tokenizer(str(theirs)).with_special(SpecialTokens(start_id=1, stop_ids=(5,)))
    config = dataclasses.replace(config_of("llama"), vocabulary_size=taken.vocabulary_size)
    run = make_run(tmp_path / "run", build_network(config), taken)
    export = ExportConfig(output=str(tmp_path / "export"), format="huggingface", parity_tokens=40)
    report = export_run(run, export, taken.encode("the lazy fox jumps over the dog " * 8)[:40])
    found = {row["name"]: row["value"] for row in report["checks"]}
    assert found["tokenizer_ids_equal (plain text)"] == 1
    for name in ("spiece.model", "tokenizer_config.json"):
        assert (tmp_path / "export" / name).read_bytes() == (theirs / name).read_bytes()
    generation = json.loads((tmp_path / "export" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [2, 5] and "top_k" not in generation


def test_a_bundle_may_begin_its_text_without_a_space(tmp_path):
    """LiteRT-LM takes the space of a first word away, as the tokenizer's library does."""
    tokenizer = json_file(json_of_pieces())
    size = tokenizer.vocabulary_size
    config = dataclasses.replace(config_of("llama"), vocabulary_size=size, tie_embeddings=True)
    network = build_network(config)
    table = network.token_embedding.embeddings
    word = tokenizer.encode("the")
    assert len(word) == 1 and tokenizer.piece(word[0]) == "\u2581the"
    # After any token comes that word: the blocks add nothing, and all inputs look like it.
    rows = np.random.default_rng(0).normal(0.3, 0.1, table.shape)
    rows[word[0]] *= 3
    table.assign(rows)
    for block in network.blocks:
        for layer in (block.attention.output_projection, block.contract):
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    run = make_run(tmp_path / "run", network, tokenizer)
    export = ExportConfig(output=str(tmp_path / "out"), format="litertlm", parity_tokens=40)
    report = export_run(run, export, tokenizer.encode("the lazy fox jumps over the dog " * 8)[:60])
    assert report["greedy"]["bundle"].startswith("the the")
