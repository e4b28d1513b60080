"""Exported folders in Hugging Face's transformers on PyTorch: logits, greedy text and tokenizers."""

import unicodedata

import numpy as np
import pytest

from tests.exporting.exported import make_run
from tests.exporting.hub_networks import CASES, network_of
from tests.exporting.hub_tokenizers import KINDS, WORDS, tokenizer_of
from tests.text.hostile import HOSTILE
from tfscale.errors import ConfigError
from tfscale.exporting.huggingface import check_tokenizer, write_hub_folder
from tfscale.inference.generation import generate
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models.hub_writer import writer_of
from tfscale.text.tokenizers.hub_files import hub_files
from tfscale.text.tokenizers.special import SpecialTokens

pytestmark = [pytest.mark.huggingface, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("case", CASES)
def test_logits_and_greedy_text(case, tokenizer, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = network_of(case)
    ours = tokenizer.with_special(SpecialTokens(start_id=3, stop_ids=(5, 7)))
    write_hub_folder(str(tmp_path), network, ours)
    model, loading = AutoModelForCausalLM.from_pretrained(
        str(tmp_path), attn_implementation="eager", output_loading_info=True
    )
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype == torch.float32
    ids = np.random.default_rng(1).integers(0, 257, (2, 40)).astype(np.int32)
    expected = np.asarray(network(ids))
    with torch.no_grad():
        logits = model(torch.tensor(ids, dtype=torch.long)).logits.numpy()
    assert np.abs(logits - expected).max() <= 1e-4 * max(1.0, float(np.std(expected)))
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    prompt = "The quick"
    inputs = theirs(prompt, return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == ours.prompt_ids(ours.encode(prompt))
    written = model.generate(**inputs, max_new_tokens=24)[0, inputs["input_ids"].shape[1] :]
    greedy = generate(KerasDecoder(network, prefill_lengths=[]), ours, prompt, 24)
    stops = [place for place, id in enumerate(written.tolist()) if id in ours.stop_ids]
    assert not stops or stops == [len(written) - 1]
    assert theirs.decode(written, skip_special_tokens=True) == greedy.text


MODELS = {kind: case for case, (kind, *_) in CASES.items()}
"""A case of each type of model."""


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_equal_on_hostile_texts(kind, model, tokenizer, tmp_path):
    """The class that transformers has for the model must not change how a text is cut."""
    from transformers import AutoTokenizer

    ours, network = tokenizer_of(kind), network_of(MODELS[model])
    writer = writer_of(network.config)
    if writer.words and kind != "bpe_qwen":
        with pytest.raises(ConfigError, match="cuts texts for Qwen2ForCausalLM into the words of"):
            check_tokenizer(writer, ours)
        return
    check_tokenizer(writer, ours)
    write_hub_folder(str(tmp_path), network, tokenizer)
    for name, content in hub_files(ours, 64).items():
        (tmp_path / name).write_bytes(content)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    assert len(theirs) == ours.vocabulary_size
    for text in [*HOSTILE, WORDS]:
        if writer.words and unicodedata.normalize("NFC", text) != text:
            continue  # It composes characters.
        plain = {"add_special_tokens": False, "split_special_tokens": True}
        assert theirs(text, **plain)["input_ids"] == ours.encode(text), text
        if ours.lossless:
            assert theirs.decode(ours.encode(text)) == text, text
    assert theirs("the fox")["input_ids"] == ours.prompt_ids(ours.encode("the fox"))
    assert theirs.eos_token_id == ours.end_id and theirs.bos_token_id == ours.start_id


def test_the_readme_runs(tokenizer, held_out, tmp_path, monkeypatch, capsys):
    from tfscale.config import ExportConfig
    from tfscale.exporting.export import export_run

    run = make_run(tmp_path / "run", network_of("qwen3"), tokenizer)
    config = ExportConfig(output=str(tmp_path / "out"), format="huggingface", parity_tokens=40)
    export_run(run, config, held_out[:40])
    text = (tmp_path / "out" / "README.md").read_text()
    monkeypatch.chdir(tmp_path / "out")
    exec(text.split("```python\n")[1].split("```")[0], {})  # noqa: S102
    assert capsys.readouterr().out.strip()
