"""The generation loop, driven by a decoder that says what it is told to."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from tfscale.config import SamplingConfig
from tfscale.errors import ConfigError, PromptError
from tfscale.inference.generation import (
    HIDDEN_SCORE,
    Generation,
    causal_mask,
    generate,
    prefill_chunk,
)
from tfscale.text.tokenizers import train_tokenizer

TOKENIZER = train_tokenizer("byte", ["any"], 257)
END = TOKENIZER.end_id


class Script:
    """A decoder whose most likely token is the next of `ids`, whatever it reads; keeps what it was fed."""

    def __init__(self, ids: Sequence[int], context_length: int | None = None):
        self.ids = [*ids, END]
        self.context_length = context_length
        self.fed: list[list[int]] = []

    def reset(self) -> None:
        self.fed = []

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        self.fed.append(list(ids))
        assert self.context_length is None or sum(map(len, self.fed)) <= self.context_length
        logits = np.zeros(TOKENIZER.vocabulary_size)
        logits[self.ids[len(self.fed) - 1]] = 9
        return logits


def run(
    text: str, prompt: str = "", max_tokens: int = 1000, context: int | None = None, stop=()
) -> Generation:
    decoder, pieces = Script(TOKENIZER.encode(text), context), []
    result = generate(decoder, TOKENIZER, prompt, max_tokens, stop=stop, on_text=pieces.append)
    assert "".join(pieces) == result.text
    assert all(pieces)
    return result


def test_a_word_follows_the_prompt_after_a_space():
    words = train_tokenizer("word", ["the cat sat on"], 20)

    class Next:
        """The word after the last one of the vocabulary's text."""

        context_length = None

        def reset(self):
            pass

        def feed(self, ids):
            order = words.encode("the cat sat on")
            after = dict(zip(order, [*order[1:], words.end_id], strict=True)).get(ids[-1], order[0])
            return np.eye(words.vocabulary_size)[after]

    for prompt, text in (
        ("the", " cat sat on"),
        ("the ", "cat sat on"),
        ("the cat\n", "the cat sat on"),
        ("", "the cat"),
    ):
        assert generate(Next(), words, prompt, 9).text.startswith(text), prompt


def test_end_token_stops():
    result = run("hello")
    assert (result.text, result.stopped_by, result.prompt_tokens) == ("hello", "end", 1)
    assert result.tokens == list(b"hello")
    assert result.tokens_per_second > 0


def test_the_model_reads_the_end_token_and_the_prompt_and_then_what_was_drawn():
    decoder = Script(b"xyz")
    generate(decoder, TOKENIZER, "ab", max_tokens=3)
    assert decoder.fed == [[END, *b"ab"], [*b"x"], [*b"y"]]


def test_length():
    result = run("hello", prompt="ab", max_tokens=2)
    assert (result.text, result.stopped_by, result.prompt_tokens) == ("he", "length", 3)


def test_a_single_token_has_no_decoding_speed():
    assert run("hello", max_tokens=1).tokens_per_second is None


def test_context_full():
    # Of 6 positions the prompt takes 3; tokens 1 to 3 are read, and the 4th needs no room since nothing follows it.
    result = run("hello world", prompt="ab", context=6)
    assert (result.text, result.stopped_by) == ("hell", "context")
    assert run("hello world", prompt="abcde", context=6).text == "h"


def test_prompt_longer_than_the_context():
    with pytest.raises(PromptError, match="6 tokens; the model's context of 6 takes at most 5"):
        run("x", prompt="abcdef", context=6)


def test_stop_string_over_several_tokens_is_cut_off():
    result = run("hello world", stop=["lo w"])
    assert (result.text, result.stopped_by) == ("hel", "stop")
    assert result.tokens == list(b"hello w")
    assert run("hello world", stop=["d!", "ld"]).text == "hello wor"
    assert run("hello", stop=["hello"]).text == ""


def test_the_beginning_of_a_stop_string_is_text_if_it_goes_on_otherwise():
    assert run("aab aac", stop=["aac "]).text == "aab aac"
    assert run("hello", stop=["lo!"]).text == "hello"


def reference_cut(text: str, stop: Sequence[str]) -> str:
    for length in range(len(text) + 1):
        places = [text[:length].find(s) for s in stop if s in text[:length]]
        if places:
            return text[: min(places)]
    return text


@pytest.mark.parametrize(
    "stop", [["ab"], ["aab"], ["abab"], ["bb", "aba"], ["a"], ["abba", "bb"], ["aaa", "bab"]]
)
def test_every_text_of_two_letters_against_the_reference(stop):
    for length in range(8):
        for letters in itertools.product("ab", repeat=length):
            text = "".join(letters)
            result = run(text, stop=stop)
            assert result.text == reference_cut(text, stop)
            assert result.stopped_by == ("stop" if result.text != text else "end")


def test_characters_of_several_tokens_come_whole():
    pieces = []
    generate(Script("a😀ж中".encode()), TOKENIZER, "", 100, on_text=pieces.append)
    assert pieces == ["a", "😀", "ж", "中"]
    assert run("a😀b", stop=["😀"]).text == "a"


def test_a_character_cut_by_the_length_ends_as_the_replacement_character():
    result = run("a😀", max_tokens=3)
    assert result.text == TOKENIZER.decode(result.tokens)
    assert result.text.startswith("a\ufffd")


def test_a_stop_string_that_the_flush_completes():
    # Two of the four bytes of an emoji become one or two replacement characters at the end.
    result = run("a😀", max_tokens=3, stop=["\ufffd"])
    assert (result.text, result.stopped_by) == ("a", "stop")


def test_repetition_penalty_sees_prompt_and_completion_but_not_the_end_token_in_front():
    class Fixed(Script):
        def feed(self, ids):
            super().feed(ids)
            logits = np.zeros(TOKENIZER.vocabulary_size)
            logits[END], logits[ord("a")], logits[ord("b")], logits[ord("c")] = 2.0, 3.0, 2.8, 2.5
            return logits

    penalized = SamplingConfig(repetition_penalty=2.0)
    # a, b, c fall to 1.5, 1.4 and 1.25 when they have been seen, below the end token, which stays at 2.
    assert generate(Fixed([0] * 9), TOKENIZER, "", 9, penalized).text == "abc"
    assert generate(Fixed([0] * 9), TOKENIZER, "ab", 9, penalized).text == "c"
    assert generate(Fixed([0] * 9), TOKENIZER, "", 4).text == "aaaa"


def test_seed_repeats_the_completion():
    class Flat(Script):
        def feed(self, ids):
            super().feed(ids)
            return np.zeros(TOKENIZER.vocabulary_size)

    first, second, other = (
        generate(
            Flat([0] * 40), TOKENIZER, "", 30, SamplingConfig(temperature=1.0, seed=seed)
        ).tokens
        for seed in (7, 7, 8)
    )
    assert first == second != other


def test_options_out_of_range():
    with pytest.raises(ConfigError, match="max_tokens=0"):
        run("x", max_tokens=0)
    with pytest.raises(ConfigError, match="empty string"):
        run("x", stop=["a", ""])


@pytest.mark.parametrize(
    ("remaining", "position", "expected"),
    [
        (70, 0, (64, 64)),
        (64, 0, (64, 64)),
        (63, 0, (64, 63)),  # one pad
        (32, 0, (64, 32)),  # half of the call is used
        (31, 0, (8, 8)),
        (9, 0, (8, 8)),
        (4, 0, (8, 4)),
        (3, 0, (0, 1)),
        (1, 0, (0, 1)),
        (70, 64, (64, 64)),  # ends exactly at the context
        (63, 65, (8, 8)),  # 65 + 64 would overrun
        (6, 120, (8, 6)),
        (6, 121, (0, 1)),  # 121 + 8 would overrun, pads and all
    ],
)
def test_prefill_chunk(remaining, position, expected):
    assert prefill_chunk(remaining, position, 128, [64, 8]) == expected


def test_a_single_token_is_decoded_even_where_a_call_of_two_fits():
    assert prefill_chunk(1, 0, 8, [2]) == (0, 1)


def test_prefill_chunks_cover_every_prompt_and_never_overrun():
    for context, lengths in itertools.product(range(1, 24), ([4, 8], [5], [3, 16], [])):
        for position in range(context):
            for count in range(1, context - position + 1):
                at, left = position, count
                while left:
                    length, used = prefill_chunk(left, at, context, lengths)
                    assert 1 <= used <= left
                    assert length in (0, *lengths)
                    assert used <= max(length, 1)
                    assert at + length <= context
                    at, left = at + used, left - used


def test_causal_mask_by_hand():
    m = HIDDEN_SCORE
    assert causal_mask(1, 2, 4).tolist() == [[[[0, 0, m, m], [0, 0, 0, m]]]]
    assert causal_mask(0, 1, 3).dtype == np.float32
