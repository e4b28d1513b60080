"""Chat templates in bundles: LiteRT-LM makes of a chat what transformers makes of it."""

import dataclasses
import json

import pytest

import tfscale
from tests.exporting.exported import make_run
from tests.gpt2 import gpt2
from tests.text.theirs import HUGGING_FACE
from tfscale.config import ExportConfig
from tfscale.device.bundle import BundleModel
from tfscale.errors import PromptError
from tfscale.exporting.chat_template import PLAIN_TEXT, bundle_template, misread
from tfscale.exporting.export import export_run
from tfscale.exporting.litertlm import build_bundle
from tfscale.exporting.tflite import export_tflite
from tfscale.models import build_network
from tfscale.text.tokenizers import load_tokenizer

DOCUMENTS = ["the cats of house 7 saw 123 birds and slept naïve café 你好 🙂\n" * 20]
TURNS = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
"""In Gemma's form."""
ENDED = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}"
    "{{ ' ' + message['content'].strip() + eos_token }}{% endif %}{% endfor %}"
)
"""In Mistral's form: the end token ends an answer."""


def tokenizer_with(folder, template, kind="gemma", **config):
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(HUGGING_FACE[kind](DOCUMENTS))
    content = {"bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": True, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return load_tokenizer(str(folder))


def network_for(tokenizer):
    return build_network(
        gpt2(
            vocabulary_size=tokenizer.vocabulary_size,
            sequence_length=64,
            hidden_dim=16,
            num_layers=1,
            num_heads=2,
        )
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("file")
    tokenizer = tokenizer_with(folder / "plain", None)
    (folder / "model.tflite").write_bytes(export_tflite(network_for(tokenizer), "none", [8]))
    return str(folder / "model.tflite")


@pytest.mark.parametrize(
    "template, message",
    [
        (TURNS, ""),
        (ENDED, ""),
        (
            TURNS.removeprefix("{{ bos_token }}"),
            "LiteRT-LM puts a start token before a chat, and it",
        ),
        (TURNS.replace("<start_of_turn>", "<|turn|>"), "has no special token '<|turn|>'; "),
        (TURNS.replace("| trim", "| center(30)"), "LiteRT-LM makes '' of what is '<start_of_turn>"),
        ("{{ messages[7]['content'] }}", "it renders no chat (UndefinedError: "),
    ],
)
def test_a_template_is_taken_where_both_read_it_alike(template, message, file, tmp_path):
    tokenizer = tokenizer_with(tmp_path / "given", template)
    bundle = str(tmp_path / "model.litertlm")
    build_bundle(file, tokenizer, 64, bundle, bundle_template(tokenizer))
    found = misread(tokenizer, BundleModel(bundle))
    assert message in found and bool(message) == bool(found), found


def test_an_empty_prompt_without_a_start_token(file, tmp_path):
    tokenizer = tokenizer_with(tmp_path / "given", None)
    special = dataclasses.replace(tokenizer.special, in_prompts=False, start_id=None)
    bundle = str(tmp_path / "model.litertlm")
    build_bundle(file, tokenizer.with_special(special), 64, bundle)
    with pytest.raises(PromptError, match="prompt is empty and the model has no start token"):
        BundleModel(bundle).generate("")


def test_prompts_of_a_chat_by_hand(file, tmp_path):
    tokenizer = tokenizer_with(tmp_path / "given", ENDED)
    bundle = str(tmp_path / "model.litertlm")
    build_bundle(file, tokenizer, 64, bundle, bundle_template(tokenizer))
    chat = [
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": " B"},
        {"role": "user", "content": "C"},
    ]
    assert BundleModel(bundle).render(chat) == "[INST] A [/INST] B<eos>[INST] C [/INST]"


@pytest.mark.parametrize("template, said", [(TURNS, "as it was"), ("{{ 1 / 0 }}", "it renders no")])
def test_an_export_says_which_template_it_has(template, said, tmp_path):
    tokenizer = tokenizer_with(tmp_path / "given", template)
    run = make_run(tmp_path / "run", network_for(tokenizer), tokenizer)
    notes = []
    config = ExportConfig(output=str(tmp_path / "export"), format="litertlm", parity_tokens=64)
    report = export_run(run, config, note=notes.append)
    assert report["chat_template"].startswith(said)
    assert (said != "as it was") == any("leave out the chat template" in note for note in notes)
    readme = (tmp_path / "export" / "README.md").read_text()
    assert ("Conversations have the chat template" in readme) == (said == "as it was")
    rendered = tfscale.device.load(str(tmp_path / "export")).render(
        [{"role": "user", "content": "x"}]
    )
    assert rendered == (
        "x"
        if said != "as it was"
        else "<start_of_turn>user\nx<end_of_turn>\n<start_of_turn>model\n"
    )


def test_without_a_template_messages_are_joined(tmp_path):
    assert bundle_template(tokenizer_with(tmp_path / "given", None)) == PLAIN_TEXT
