"""A tokenizer of another library in a folder for Hugging Face."""

import dataclasses
import json

from tests.exporting.exported import make_run
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
