"""Long documents of tokenizers that are taken: in parts they have the ids of the whole."""

import itertools
import json

import pytest
import sentencepiece
import tokenizers as library

from tests.text.theirs import HUGGING_FACE, SENTENCEPIECE, prepared, sentencepiece_model
from tfscale.data.tokens import split_stream
from tfscale.errors import TokenizerError
from tfscale.text.scored import document_stream
from tfscale.text.tokenizers import load_tokenizer
from tfscale.text.tokenizers.cutting import LONG_TEXT
from tfscale.text.tokenizers.lost import USUAL_GAP_BITS
from tfscale.text.tokenizers.tokenizer_json import without_prefix

WORDS = "the cats of house 7 saw 123 birds,  and  slept: naïve ﬁsh! 你好 🙂 x\u200b y it's".split(
    " "
)
# So that no piece goes across the space between two words, as in published models.
TRAINED = ["\n".join([*WORDS, *(f" {word}" for word in WORDS)]) * 20]
LONG = " ".join(itertools.islice(itertools.cycle(WORDS), LONG_TEXT // 2))


def t5_of_words(documents):
    """As transformers converts T5: each word gets the sign, after all white space was taken."""
    content = json.loads(HUGGING_FACE["t5"](documents))
    marked = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    steps = [{"type": "WhitespaceSplit"}, marked]
    return json.dumps(
        content | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
    ).encode()


def trimmed(documents):
    """A form that takes white space from both ends of a text."""
    content = json.loads(HUGGING_FACE["llama2"](documents))
    steps = content["normalizer"]["normalizers"]
    steps.insert(0, {"type": "Strip", "strip_left": True, "strip_right": True})
    return json.dumps(content).encode()


FORMS = HUGGING_FACE | {"t5_of_words": t5_of_words, "trimmed": trimmed}


def in_hugging_face(tmp_path, name):
    content = FORMS[name](TRAINED)
    (tmp_path / "tokenizer.json").write_bytes(content)
    theirs = library.Tokenizer.from_str(content.decode())
    theirs.no_truncation()
    theirs.no_padding()
    return lambda text: theirs.encode(text, add_special_tokens=False).ids


def in_sentencepiece(tmp_path, name):
    content = sentencepiece_model(TRAINED, name)
    (tmp_path / "tokenizer.model").write_bytes(content)
    return sentencepiece.SentencePieceProcessor(model_proto=content).encode


CASES = [
    *((in_hugging_face, name) for name in FORMS),
    *((in_sentencepiece, name) for name in SENTENCEPIECE),
]


@pytest.mark.parametrize(("libraries", "name"), CASES)
def test_a_long_document_has_the_ids_of_its_library(tmp_path, libraries, name):
    theirs = libraries(tmp_path, name)
    data = prepared(tmp_path, [LONG, "short one"])
    tokenizer = load_tokenizer(data)
    end = [tokenizer.end_id]
    expected = [*theirs(LONG), *end, *theirs("short one"), *end]
    scored, known = document_stream(tokenizer, [LONG, "short one"])
    assert scored.tolist() == expected
    assert split_stream(data, "train").tolist() == expected


# The model "plain" never saw a space.
@pytest.mark.parametrize(("libraries", "name"), [case for case in CASES if case[1] != "plain"])
def test_a_part_is_charged_for_what_it_loses_alone(tmp_path, libraries, name):
    """What comes back costs the least, however the text was cut."""
    libraries(tmp_path, name)
    tokenizer = load_tokenizer(str(tmp_path))
    # It comes back from all of these tokenizers.
    plain = " ".join(["the", "cats", "x"] * (LONG_TEXT // 6))
    assert len(plain) > LONG_TEXT and tokenizer.decode(tokenizer.encode(plain)) == plain
    _, known = document_stream(tokenizer, [plain, "the cats"])
    parts = 3
    assert known.lost_bits == (0 if tokenizer.lossless else pytest.approx(parts * USUAL_GAP_BITS))
    assert known.utf8_bytes == len(plain) + 8


def test_the_rest_of_a_text_where_each_word_gets_the_sign(tmp_path):
    theirs = in_hugging_face(tmp_path, "t5_of_words")
    tokenizer = load_tokenizer(str(tmp_path))
    whole = theirs("the cats of  house ")
    assert tokenizer.encode_continued(" the cats\t of house ") == whole
    for text in ("s of house", "aw  birds"):
        ids = [*tokenizer.encode("the cat"), *tokenizer.encode_continued(text)]
        assert tokenizer.decode(ids) == "the cat" + text.replace("  ", " ")
        assert not tokenizer.piece(tokenizer.encode_continued(text)[0]).startswith("▁")


def test_the_rest_of_a_text_where_spaces_are_joined(tmp_path):
    theirs = in_sentencepiece(tmp_path, "t5")
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.encode_continued("  the  cats ") == theirs("the cats")
    assert not tokenizer.piece(tokenizer.encode_continued("the cats")[0]).startswith("▁")


def test_a_lone_surrogate_far_behind_is_refused(tmp_path):
    in_hugging_face(tmp_path, "gpt2")
    with pytest.raises(TokenizerError, match=r"lone surrogate \(U\+D800\)"):
        document_stream(load_tokenizer(str(tmp_path)), [f"{LONG} \ud800"])


def test_nothing_changes_where_nothing_is_put_before_a_text():
    content = json.loads(HUGGING_FACE["gpt2"](TRAINED))
    assert without_prefix(content) == content
