"""Files of tokenizers that are taken: they are kept as they were, and come back out."""

import json

import pytest

from tests.text.theirs import HUGGING_FACE, sentencepiece_model
from tfscale.errors import ExportError, TokenizerError
from tfscale.text.tokenizers import load_tokenizer
from tfscale.text.tokenizers.hub_files import chat_templates, hub_files
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

DOCUMENTS = ["the cats of house 7 saw 123 birds and slept naïve café 你好 🙂\n" * 20]
CONFIG = b'{"bos_token": "<bos>", "eos_token": "<eos>"}'
TEMPLATE = b"{{ messages }}"


@pytest.fixture(scope="module")
def models():
    """Content by the name of the file."""
    model = sentencepiece_model(DOCUMENTS, "llama2")
    return {
        "tokenizer.json": HUGGING_FACE["gemma"](DOCUMENTS),
        "tokenizer.model": model,
        "spiece.model": model,
    }


def folder_of(folder, **files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "spiece.model"])
def test_files_come_back_as_they_were(tmp_path, models, name):
    config = CONFIG if name == "tokenizer.json" else b"{}"
    files = {
        name: models[name],
        "tokenizer_config.json": config,
        "chat_template.jinja": TEMPLATE,
        "vocab.json": b"{}",
    }
    taken = load_tokenizer(folder_of(tmp_path / "theirs", **files))
    taken.save(str(tmp_path / "ours"))
    loaded = load_tokenizer(str(tmp_path / "ours"))
    assert (loaded.digest, loaded.special) == (taken.digest, taken.special)
    assert loaded.given_files() == taken.given_files() == hub_files(loaded, 64) == files
    # Beside the model those of other programs lie apart.
    file = name.replace("spiece", "tokenizer")
    names = {path.name for path in (tmp_path / "ours").iterdir()}
    assert names == {file, "tokenizer_config.json", "original"}
    assert (tmp_path / "ours" / file).read_bytes() == models[name]
    saved = json.loads((tmp_path / "ours" / "tokenizer_config.json").read_text())
    assert saved["special_tokens"] == taken.special_tokens and saved["files"] == [file]
    # A file in a folder of ours is that tokenizer.
    assert load_tokenizer(str(tmp_path / "ours" / file)).digest == taken.digest


def test_files_that_do_not_change_the_ids_do_not_change_the_digest(tmp_path, models):
    plain = {"tokenizer.json": models["tokenizer.json"], "tokenizer_config.json": CONFIG}
    first = load_tokenizer(folder_of(tmp_path / "plain", **plain))
    second = load_tokenizer(folder_of(tmp_path / "chat", **plain, **{"chat_template.jinja": b"x"}))
    assert first.digest == second.digest and first.given_files() != second.given_files()
    second.save(str(tmp_path / "device"), originals=False)
    device = load_tokenizer(str(tmp_path / "device"))
    assert device.digest == first.digest
    assert device.given_files() == {"tokenizer.json": models["tokenizer.json"]}


def test_a_file_beside_it_that_was_changed_is_found(tmp_path, models):
    files = {"tokenizer.json": models["tokenizer.json"], "tokenizer_config.json": CONFIG}
    load_tokenizer(folder_of(tmp_path / "theirs", **files)).save(str(tmp_path / "ours"))
    (tmp_path / "ours" / "original" / "tokenizer_config.json").write_bytes(b"{}")
    with pytest.raises(TokenizerError, match="tokenizer_config.json was changed after it was sav"):
        load_tokenizer(str(tmp_path / "ours"))


def test_a_name_leads_to_no_other_folder(tmp_path, models):
    """Whatever a damaged configuration says."""
    taken = load_tokenizer(
        folder_of(tmp_path / "theirs", **{"spiece.model": models["spiece.model"]})
    )
    taken.save(str(tmp_path / "ours"))
    path = tmp_path / "ours" / "tokenizer_config.json"
    path.write_text(path.read_text().replace("spiece.model", "../../x.model"))
    with pytest.raises(TokenizerError, match="was changed after it was saved"):
        load_tokenizer(str(tmp_path / "ours"))


def test_a_tokenizer_json_by_itself_gets_a_file_that_names_its_tokens(tmp_path, models):
    taken = load_tokenizer(
        folder_of(tmp_path / "theirs", **{"tokenizer.json": models["tokenizer.json"]})
    )
    files = hub_files(taken, 64)
    assert files["tokenizer.json"] == models["tokenizer.json"]
    config = json.loads(files["tokenizer_config.json"])
    assert (config["eos_token"], config["model_max_length"]) == ("<eos>", 64)
    again = load_tokenizer(folder_of(tmp_path / "again", **files))
    assert (again.end_id, again.start_id) == (taken.end_id, taken.start_id)
    model = load_tokenizer(
        folder_of(tmp_path / "model", **{"spiece.model": models["spiece.model"]})
    )
    with pytest.raises(ExportError, match="taken from spiece.model alone"):
        hub_files(model, 64)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"<pad>": 5000}, "gives '<pad>' the id 5000, which the model itself does not"),
        ({"<s>": 2}, "gives '<s>' the id 2"),
        ({"<s>": "1"}, "gives '<s>' the id '1'"),
        ({"<s>": -650}, "gives '<s>' the id -650"),
        ([], "added_tokens.json is not a JSON object"),
        ({"<s>": 1, "</s>": 2}, None),
    ],
)
def test_tokens_that_are_added_to_a_sentencepiece_model(tmp_path, models, added, message):
    files = {
        "tokenizer.model": models["tokenizer.model"],
        "added_tokens.json": json.dumps(added).encode(),
    }
    folder = folder_of(tmp_path / "theirs", **files)
    if message is None:
        assert load_tokenizer(folder).given_files() == files
        return
    with pytest.raises(TokenizerError, match=message) as error:
        load_tokenizer(folder)
    assert "\n" not in str(error.value)


NAMED = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]


@pytest.mark.parametrize(
    "files, templates",
    [
        ({}, {}),
        ({"tokenizer_config.json": "{}"}, {}),
        ({"tokenizer_config.json": '{"chat_template": null}'}, {}),
        ({"tokenizer_config.json": '{"chat_template": "ä"}'}, {"default": "ä"}),
        (
            {"tokenizer_config.json": '{"chat_template": "a"}', "chat_template.jinja": "b\n"},
            {"default": "b\n"},
        ),
        (
            {"tokenizer_config.json": json.dumps({"chat_template": NAMED})},
            {"default": "a", "tool_use": "b"},
        ),
    ],
)
def test_templates_of_chats(files, templates):
    tokenizer = ByteTokenizer()
    tokenizer.original = {name: text.encode() for name, text in files.items()}
    assert chat_templates(tokenizer) == templates


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("chat_template.jinja", b"\xff", "chat_template.jinja is no text in UTF-8: .*utf-8"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json is not JSON"),
        ("tokenizer_config.json", b"[]", "tokenizer_config.json is not a JSON object"),
        ("tokenizer_config.json", b'{"chat_template": 7}', "has chat_template=.*expected a text"),
        (
            "tokenizer_config.json",
            b'{"chat_template": ["a"]}',
            "has chat_template=.*expected a text",
        ),
        (
            "tokenizer_config.json",
            b'{"chat_template": [{"name": "default"}]}',
            "has chat_template=.*expected a text",
        ),
    ],
)
def test_templates_that_are_none(name, content, message):
    tokenizer = ByteTokenizer()
    tokenizer.original = {name: content}
    with pytest.raises(TokenizerError, match=message):
        chat_templates(tokenizer)
