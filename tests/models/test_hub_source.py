"""Models that are named by `hf://`: the folder is fetched as a whole, and read as any other."""

import huggingface_hub
import pytest
from huggingface_hub import errors

from tfscale.errors import ConfigError
from tfscale.models.hub import from_keras_hub
from tfscale.models.hub_source import local_source


def test_other_sources_stay():
    model = object()
    assert local_source(model) is model
    assert local_source("presets/gpt2") == "presets/gpt2"


@pytest.mark.parametrize(
    "source, name, revision",
    [("hf://Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", None), ("hf://own/model@v1", "own/model", "v1")],
)
def test_the_folder_is_fetched(source, name, revision, monkeypatch, tmp_path):
    asked = []

    def fetched(repo, revision, ignore_patterns):
        asked.append((repo, revision))
        assert "*.gguf" in ignore_patterns and "*.safetensors" not in ignore_patterns
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    assert local_source(source) == str(tmp_path)
    assert asked == [(name, revision)]


def test_what_its_config_says_is_followed_or_refused(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_act": "relu"}')
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(ConfigError, match="hidden_act|num_hidden_layers"):
        from_keras_hub("hf://own/model")


def test_what_cannot_be_fetched_is_one_line(monkeypatch):
    def offline(*_, **__):
        raise errors.LocalEntryNotFoundError("no network\nmore lines")

    with pytest.raises(ConfigError, match="expected hf://OWNER/NAME"):
        local_source("hf://a name/with/parts")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ConfigError, match="^hf://own/model cannot be fetched: no network$"):
        local_source("hf://own/model")
