import pytest

from tfscale.errors import TokenizerError
from tfscale.text.tokenizers import train_tokenizer


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("sentencepiece", 700),
        ("sentencepiece-bpe", 700),
        ("wordpiece", 700),
        ("word", 300),
        ("char", 90),
    ],
)
def test_the_same_text_and_seed_give_the_same_bytes(tokenizers, sample_documents, kind, size):
    model = "bpe" if kind.endswith("bpe") else "unigram"
    again = train_tokenizer(
        kind.removesuffix("-bpe"), iter(sample_documents), size, sentencepiece_model=model
    )
    assert again.files() == tokenizers[kind].files()
    assert again.digest == tokenizers[kind].digest


def test_vocabulary_sizes(tokenizers):
    sizes = {name: tokenizer.vocabulary_size for name, tokenizer in tokenizers.items()}
    assert sizes == {
        "sentencepiece": 700,
        "sentencepiece-bpe": 700,
        "wordpiece": 700,
        "word": 300,
        "char": 90,
        "byte": 257,
    }
    assert len({tokenizer.digest for tokenizer in tokenizers.values()}) == 6


@pytest.mark.parametrize("kind", ["sentencepiece", "sentencepiece-bpe", "wordpiece"])
def test_a_vocabulary_that_the_text_does_not_support_names_the_largest(kind):
    model = "bpe" if kind.endswith("bpe") else "unigram"
    kind = kind.removesuffix("-bpe")
    texts = ["to be or not to be, that is the question " * 10]
    with pytest.raises(
        TokenizerError, match="vocabulary_size=5000 is larger than the text supports"
    ) as error:
        train_tokenizer(kind, texts, 5000, sentencepiece_model=model)
    largest = int(str(error.value).rsplit(" ", 1)[1])
    assert (
        train_tokenizer(kind, texts, largest, sentencepiece_model=model).vocabulary_size == largest
    )
    with pytest.raises(TokenizerError, match=f"the largest possible is {largest}$"):
        train_tokenizer(kind, texts, largest + 1, sentencepiece_model=model)


def test_a_vocabulary_that_is_too_small_names_the_smallest():
    with pytest.raises(
        TokenizerError, match="too small for the text's characters and the 256 bytes; .* is 263$"
    ):
        train_tokenizer("sentencepiece", ["abcd " * 100], 100)
    with pytest.raises(TokenizerError, match="too small for the text's 5 characters.* is 12$"):
        train_tokenizer("wordpiece", ["abcd " * 100], 4)
    with pytest.raises(TokenizerError, match="too small for a single entry"):
        train_tokenizer("word", ["a b"], 3)


@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece", "word", "char"])
@pytest.mark.parametrize("texts", [[], [""]])
def test_empty_text_trains_nothing(kind, texts):
    with pytest.raises(TokenizerError, match=f"{kind} tokenizer cannot be trained on empty text"):
        train_tokenizer(kind, texts, 1000)


def test_an_unknown_kind_is_refused():
    with pytest.raises(
        TokenizerError, match="unknown tokenizer 'bpe'; expected one of byte, char, sentencepiece"
    ):
        train_tokenizer("bpe", ["text"], 1000)


def test_characters_and_words_are_ranked_by_frequency_then_by_code():
    assert train_tokenizer("char", ["abcb", "cc\n"], 5).characters == ["c", "b", "\n"]
    assert train_tokenizer("word", ["b a c a", "c\n <unk> </s> <eos>"], 5).words == ["a", "c"]
    assert train_tokenizer("word", ["b a c a", "c\n <unk> </s> <eos>"], 100).words == [
        "a",
        "c",
        "b",
    ]


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_reserved_characters_and_special_names_in_the_training_text(model):
    texts = [
        "</s> <0x0A> <unk> \0 \u2585 \u2581 [UNK] ## word words worded " * 200,
        "no line end " * 600,
    ]
    tokenizer = train_tokenizer("sentencepiece", texts, 278, sentencepiece_model=model)
    assert tokenizer.decode(tokenizer.encode(texts[0])) == texts[0]
    assert tokenizer.end_id not in tokenizer.encode(texts[0])
    # Had the sentences with these characters been passed over, the letters of their words would be spelt in bytes.
    assert not any(tokenizer.piece(id).startswith("<") for id in tokenizer.encode("wd"))


@pytest.mark.slow
def test_one_very_long_line_is_not_passed_over():
    text = "".join(f"key{number % 7}=value;" for number in range(6000))
    tokenizer = train_tokenizer("sentencepiece", [text], 281)
    assert len(tokenizer.encode("key3=value;")) <= 6


def test_very_rare_characters_are_left_out_of_a_wordpiece_alphabet():
    texts = ["the cat sat on the mat " * 1000 + "\u4e00"]
    tokenizer = train_tokenizer("wordpiece", texts, 30)
    assert tokenizer.vocabulary_size == 30
    assert tokenizer.decode(tokenizer.encode("the cat")) == "the cat"
    assert tokenizer.encode("\u4e00") == [tokenizer.unknown_id]
