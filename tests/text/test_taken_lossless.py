"""Whether a tokenizer.json brings every text back: it says so where it does, and nowhere else."""

import json

import pytest

from tests.text.hostile import HOSTILE, MARKED
from tests.text.theirs import HUGGING_FACE, SENTENCEPIECE, sentencepiece_model
from tfscale.text.tokenizers import load_tokenizer

DOCUMENTS = ["the cats of house 7 saw 123 birds, isn't it naïve café 你好 🙂\n" * 20]
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
ADDED = {
    "id": 421,
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": False,
}


def steps(*parts):
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(parts)}}


def split(pattern, behavior):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def model(**entries):
    return lambda content: content["model"].update(entries)


def outer(**entries):
    return lambda content: content.update(entries)


def added(text, **entries):
    def change(content):
        identity = max(content["model"]["vocab"].values()) + 1
        assert [token["id"] for token in content["added_tokens"]] == [identity]
        token = {**ADDED, "content": text, "id": identity + 1, **entries}
        content["added_tokens"].append(token)

    return change


def without_a_byte(content):
    """`é` is spelled in two bytes, of which one is gone."""
    content["model"]["vocab"]["<gone>"] = content["model"]["vocab"].pop("©")
    merges = content["model"]["merges"]
    content["model"]["merges"] = [pair for pair in merges if "©" not in "".join(pair)]
    for piece in [p for p in content["model"]["vocab"] if "©" in p and len(p) > 1]:
        content["model"]["vocab"][piece.replace("©", "<gone>")] = content["model"]["vocab"].pop(
            piece
        )


# A change of GPT-2's form -> a text that does not come back; None where all do.
FORMS = {
    "as it is": (lambda content: None, None),
    "isolated words": (outer(**steps(split(r"\s+", "Isolated"), BYTES)), None),
    "digits": (outer(**steps({"type": "Digits", "individual_digits": True}, BYTES)), None),
    "an added text": (added("<tool_call>"), None),
    "an added text with a space": (added("two words"), None),
    "a special text that takes spaces": (added("<mask>", special=True, lstrip=True), None),
    "composed": (outer(normalizer={"type": "NFC"}), "e\u0301"),
    "lowercase": (outer(normalizer={"type": "Lowercase"}), "Cats"),
    "stripped": (
        outer(normalizer={"type": "Strip", "strip_left": True, "strip_right": True}),
        " a",
    ),
    "replaced": (
        outer(normalizer={"type": "Replace", "pattern": {"String": "``"}, "content": '"'}),
        "``",
    ),
    "a space before": (outer(pre_tokenizer=BYTES | {"add_prefix_space": True}), "the"),
    "removed": (outer(**steps(split(r"\s+", "Removed"), BYTES)), "a b"),
    "white space left out": (outer(**steps({"type": "WhitespaceSplit"}, BYTES)), "a b"),
    "no bytes": (outer(pre_tokenizer=None), "é"),
    "words alone": (outer(**steps(split(r"\s+", "Isolated"))), "a b"),
    "bytes of bytes": (outer(**steps(BYTES, BYTES)), "é"),
    "continued words": (model(continuing_subword_prefix="##", merges=[]), "qzqz"),
    "ends of words": (model(end_of_word_suffix="</w>"), "qzqz"),
    "a byte that is no token": (without_a_byte, "é"),
    "an added text of characters that are bytes": (added("<é>"), "<é>"),
    "an added text that takes spaces": (added("<x>", lstrip=True), "a  <x>"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_lossless_where_every_text_comes_back(tmp_path, name):
    change, lost = FORMS[name]
    content = json.loads(HUGGING_FACE["gpt2"](DOCUMENTS))
    change(content)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    tokenizer = load_tokenizer(str(tmp_path))
    texts = [*HOSTILE, *MARKED, "a b <tool_call>two words<mask> <mask>", *([lost] if lost else [])]
    back = {text: tokenizer.decode(tokenizer.encode(text)) for text in texts}
    assert tokenizer.lossless == (lost is None)
    if lost is None:
        assert all(text == decoded for text, decoded in back.items())
    else:
        assert back[lost] != lost


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_published_forms(tmp_path, name):
    (tmp_path / "tokenizer.json").write_bytes(HUGGING_FACE[name](DOCUMENTS))
    tokenizer = load_tokenizer(str(tmp_path))
    lost = [t for t in [*HOSTILE, *MARKED] if tokenizer.decode(tokenizer.encode(t)) != t]
    assert tokenizer.lossless == (not lost)


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_a_sentencepiece_model_loses_the_sign_for_a_space(tmp_path, name):
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model(DOCUMENTS, name))
    tokenizer = load_tokenizer(str(tmp_path))
    assert not tokenizer.lossless
    assert any(tokenizer.decode(tokenizer.encode(text)) != text for text in [*HOSTILE, *MARKED])
