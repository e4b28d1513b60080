"""A tokenizer of each kind that has a form of Hugging Face, trained on two lines."""

import functools

import tokenizers

from tfscale.text.tokenizers import train_tokenizer
from tfscale.text.tokenizers.kinds.bpe import BytePairTokenizer
from tfscale.text.tokenizers.special import SpecialTokens
from tfscale.text.tokenizers.word_patterns import LLAMA_3, QWEN

WORDS = "the quick brown fox jumps over the lazy dog, naïve café, 狐 and _under_score 12345 "
TEXTS = [WORDS * 50, "def main():\n\treturn 'x'\n" * 20] * 4
CODE = "if a < b and 0x41 > c: </s> ABCDEF 23456789 "


def byte_pairs(words):
    """A tokenizer like those that models bring, with special tokens behind what was learned."""
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(TEXTS, trainer)
    vocabulary = library.get_vocab()
    for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
        vocabulary[text] = len(vocabulary)
    import json

    merges = [" ".join(pair) for pair in json.loads(library.to_str())["model"]["merges"]]
    ours = BytePairTokenizer.from_merges(vocabulary, merges, "<|endoftext|>", words)
    stop = ours.special_tokens["<|im_end|>"]
    return ours.with_special(SpecialTokens(in_prompts=False, stop_ids=(stop,)))


KINDS = {
    "byte": lambda: train_tokenizer("byte", [], 257),
    "char": lambda: train_tokenizer("char", TEXTS, 60),
    "wordpiece": lambda: train_tokenizer("wordpiece", TEXTS, 100),
    "sentencepiece": lambda: train_tokenizer("sentencepiece", TEXTS, 320),
    "sentencepiece_code": lambda: train_tokenizer("sentencepiece", [CODE * 60, *TEXTS], 345),
    "sentencepiece_leading": lambda: train_tokenizer("sentencepiece", TEXTS, 320).with_special(
        SpecialTokens(leading_space=True)
    ),
    "sentencepiece_bpe": lambda: train_tokenizer(
        "sentencepiece", TEXTS, 340, sentencepiece_model="bpe"
    ),
    "sentencepiece_bpe_leading": lambda: train_tokenizer(
        "sentencepiece", TEXTS, 340, sentencepiece_model="bpe"
    ).with_special(SpecialTokens(leading_space=True)),
    "bpe_gpt2": lambda: byte_pairs(""),
    "bpe_llama3": lambda: byte_pairs(LLAMA_3),
    "bpe_qwen": lambda: byte_pairs(QWEN),
}


@functools.cache
def tokenizer_of(kind):
    return KINDS[kind]()
