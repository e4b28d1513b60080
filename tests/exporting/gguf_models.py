"""Small networks of every architecture that llama.cpp has, and tokenizers that it reads.

Rows are 64 numbers, two blocks of Q8_0; random weights, large enough that logits have clear winners.
"""

import functools
import io
import json

import numpy as np
import sentencepiece
import tokenizers as library

from tests.text import theirs
from tfscale.config import TransformerConfig
from tfscale.config.gpt2_parts import GPT2_PARTS
from tfscale.models import build_network
from tfscale.text.builtin import builtin_corpus
from tfscale.text.tokenizers import train_tokenizer
from tfscale.text.tokenizers.kinds.bpe import BytePairTokenizer
from tfscale.text.tokenizers.kinds.huggingface import HuggingFaceFile
from tfscale.text.tokenizers.kinds.sentencepiece import SentencePieceTokenizer
from tfscale.text.tokenizers.kinds.sentencepiece_file import SentencePieceFile
from tfscale.text.tokenizers.sentencepiece_json import as_tokenizer_json
from tfscale.text.tokenizers.sentencepiece_models import keeping_text
from tfscale.text.tokenizers.special import SpecialTokens
from tfscale.text.tokenizers.word_patterns import LLAMA_3, QWEN

END = "<|endoftext|>"
LLAMA = {
    **GPT2_PARTS,
    "positions": "rope",
    "normalization": "rms",
    "activation": "swiglu",
    "norm_epsilon": 1e-6,
    "hidden_dim": 64,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "feed_forward_dim": 96,
    "sequence_length": 48,
}
GEMMA = LLAMA | {"activation": "geglu", "scale_embeddings": True, "head_dim": 32}
MODELS = {
    "llama": LLAMA | {"tie_embeddings": False, "head_dim": 32},
    "llama3.2": LLAMA
    | {
        "rope_base": 500.0,
        "rope_scaling": "llama3",
        "rope_factor": 32.0,
        "rope_original_length": 40,
    },
    "mistral": LLAMA | {"rope_scaling": "linear", "rope_factor": 4.0},
    "qwen2": LLAMA | {"query_key_value_bias": True},
    "qwen3": LLAMA | {"query_key_norm": True, "head_dim": 32, "rope_base": 1e6},
    "gemma": GEMMA | {"num_kv_heads": 1},
    "gemma2": GEMMA
    | {
        "num_layers": 3,
        "sandwich_norm": True,
        "attention_soft_cap": 5.0,
        "logit_soft_cap": 30.0,
        "attention_window": 5,
        "global_every": 2,
    },
    "gemma2_pattern": GEMMA
    | {
        "num_layers": 4,
        "sandwich_norm": True,
        "attention_soft_cap": 5.0,
        "logit_soft_cap": 30.0,
        "attention_window": 5,
        "global_every": 3,
    },
    "gemma3": GEMMA
    | {
        "num_layers": 7,
        "sandwich_norm": True,
        "query_key_norm": True,
        "attention_window": 5,
        "global_every": 6,
        "rope_base": 1e6,
        "local_rope_base": 300.0,
        "rope_scaling": "linear",
        "rope_factor": 8.0,
    },
    "gemma3_pattern": GEMMA
    | {
        "num_layers": 4,
        "sandwich_norm": True,
        "query_key_norm": True,
        "attention_window": 7,
        "global_every": 3,
        "logit_soft_cap": 20.0,
    },
    "smollm3": LLAMA | {"num_layers": 5, "no_rope_every": 4},
    "phi3": LLAMA | {"rope_fraction": 0.75},
    "gpt2": LLAMA
    | {
        **GPT2_PARTS,
        "activation": "gelu_tanh",
        "use_bias": True,
        "num_kv_heads": 0,
        "norm_epsilon": 1e-5,
    },
    "gpt2_no_bias": LLAMA | {**GPT2_PARTS, "activation": "gelu_tanh", "num_kv_heads": 0},
}
"""Name -> options of the network but for its vocabulary."""
IN_LLAMA_CPP = {"llama3.2": "llama", "mistral": "llama", "gpt2_no_bias": "gpt2"} | {
    "gemma3_pattern": "gemma3",
    "gemma2_pattern": "gemma2",
}
"""Those whose architecture of llama.cpp has another name."""


@functools.cache
def texts():
    names = ("ast.py", "textwrap.py")
    return [file.text() for file in builtin_corpus("python-stdlib") if file.name in names]


@functools.cache
def byte_pairs(words="", ignore_merges=False, digits=False):
    """Byte-level BPE with GPT-2's words, or those of a regular expression."""
    trained = library.Tokenizer(library.models.BPE(ignore_merges=ignore_merges))
    split, by_bytes = library.pre_tokenizers.Split, library.pre_tokenizers.ByteLevel
    trained.pre_tokenizer = by_bytes(add_prefix_space=False)
    if digits:
        parts = [library.pre_tokenizers.Digits(individual_digits=True), trained.pre_tokenizer]
        trained.pre_tokenizer = library.pre_tokenizers.Sequence(parts)
    if words:
        parts = [
            split(library.Regex(words), behavior="isolated"),
            by_bytes(add_prefix_space=False, use_regex=False),
        ]
        trained.pre_tokenizer = library.pre_tokenizers.Sequence(parts)
    trained.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END, "<|user|>", "<|stop|>"],
        show_progress=False,
    )
    trained.train_from_iterator(texts(), trainer)
    # As in `from_merges`: special tokens are part of the vocabulary alone.
    content = json.loads(trained.to_str()) | {"added_tokens": []}
    return BytePairTokenizer(json.dumps(content).encode(), END)


@functools.cache
def pieces(leading_space=False):
    """SentencePiece's BPE, with a start token of its own and a second stop token."""
    tokenizer = train_tokenizer("sentencepiece", texts(), 500, sentencepiece_model="bpe")
    return tokenizer.with_special(
        SpecialTokens(start_id=0, stop_ids=(400,), leading_space=leading_space)
    )


def taken(make):
    """A tokenizer.json as it is, whose special tokens are added ones."""
    content = make(texts())
    added = [token["content"] for token in json.loads(content)["added_tokens"]]
    return HuggingFaceFile(content, added[-1])


def json_of_pieces(leading_space=True, plain=()):
    """A tokenizer.json in the manner of Llama 2, or of Gemma, with merges of a SentencePiece model."""
    model = theirs.sentencepiece_model(texts(), "llama2")
    content = json.loads(as_tokenizer_json(model, leading_space))
    # It keeps characters apart that special tokens alone have.
    content["pre_tokenizer"] = None if leading_space else GEMMA_WORDS
    vocabulary = content["model"]["vocab"]
    vocabulary.update({text: len(vocabulary) + number for number, text in enumerate(plain)})
    whole = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] = [
        {"id": vocabulary[text], "content": text, "special": text not in plain, **whole}
        for text in ("<unk>", "<s>", "</s>", *plain)
    ]
    return content


GEMMA_WORDS = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}
TABLE = ("<table>", "\n\n", "\n\n\n")


def json_file(content):
    return HuggingFaceFile(json.dumps(content).encode(), "</s>")


def qwen_file():
    """Qwen's words and normalizer, and a token that is found in any text."""
    content = json.loads(byte_pairs(QWEN).model)
    content["normalizer"] = {"type": "NFC"}
    end, size = content["model"]["vocab"][END], len(content["model"]["vocab"])
    whole = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] = [
        {"id": end, "content": END, "special": True, **whole},
        {"id": size, "content": "<think>", "special": False, **whole},
        {"id": size + 1, "content": "</think>", "special": False, **whole},
    ]
    return HuggingFaceFile(json.dumps(content).encode(), END)


KEEPS_TEXT = {
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
}


def sentencepiece_file(**options):
    """A model of byte-pair encoding as it is."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in texts() for line in text.splitlines() if line]),
        model_writer=model,
        vocab_size=650,
        num_threads=1,
        minloglevel=2,
        model_type="bpe",
        **KEEPS_TEXT | options,
    )
    return model.getvalue()


RUNS = ["\n\n", "<table>", *("\u2581" * count for count in range(2, 6))]
GEMMA_FILE = {"add_dummy_prefix": False, "user_defined_symbols": RUNS}
TOKENIZERS = {
    "qwen2, a file as it is": qwen_file,
    "default, Llama 2 as it is": lambda: json_file(json_of_pieces()),
    "default, Gemma as it is": lambda: json_file(json_of_pieces(False, TABLE)),
    "default, a model as it is": lambda: SentencePieceFile(sentencepiece_file()),
    "default, a model with runs of spaces": lambda: SentencePieceFile(
        sentencepiece_file(**GEMMA_FILE)
    ),
    "default, pieces of runs of spaces": lambda: SentencePieceTokenizer(
        keeping_text(sentencepiece_file(**GEMMA_FILE))
    ),
    "gpt-2, a file as it is": lambda: taken(theirs.gpt2),
    "dbrx, a file as it is": lambda: taken(theirs.llama3),
    "gpt-2": byte_pairs,
    "smollm": lambda: byte_pairs(digits=True),
    "qwen2": lambda: byte_pairs(QWEN),
    "llama-bpe": lambda: byte_pairs(LLAMA_3, ignore_merges=True),
    "dbrx": lambda: byte_pairs(LLAMA_3),
    "default": pieces,
    "default, a space before": lambda: pieces(leading_space=True),
}
"""`tokenizer.ggml.pre`, and a word more -> a tokenizer."""


@functools.cache
def network_of(name, vocabulary_size=500):
    network = build_network(TransformerConfig(vocabulary_size=vocabulary_size, **MODELS[name]))
    generator = np.random.default_rng(0)
    for weight in network.weights:
        near_1 = weight.name in ("gamma", "scale")
        weight.assign(generator.normal(size=weight.shape, scale=0.2) + (1.0 if near_1 else 0.0))
    return network
