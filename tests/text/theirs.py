"""Tokenizers of other libraries, trained on small texts in the forms of published ones."""

import io
import json

import sentencepiece
import tokenizers as library
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from tfscale.text.tokenizers.kinds.bpe import LLAMA_3

MARK = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

HOSTILE = [
    "",
    " ",
    "     ",
    "\t\t\n\n",
    "a\r\nb\r\n\r\nc",
    "line\n  indented\n\tby tab ",
    "nul\0 in the middle",
    "\0",
    "\u0301 alone, then e\u0301",
    "caf\u00e9 and cafe\u0301",
    "\u1112\u1161\u11ab and \ud55c",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family",
    "\U0001f3f3\ufe0f\u200d\U0001f308\U0001f1e9\U0001f1ea",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\u202eright to left\u202c",
    "\ufeffbyte order mark",
    "replaced \ufffd here",
    "w" * 700,
    "Donaudampfschifffahrtsgesellschaftskapit\u00e4n" * 4,
    "1234567890 3.14159 1,000,000 0x1F \u0663\u0664",
    "<|endoftext|>",
    "before <|endoftext|> after<|endoftext|>",
    "<s>text</s> <eos><bos> <unk> [CLS] a [SEP] [UNK] [PAD]",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<start_of_turn>user\nHi<end_of_turn> <|im_start|>x<|im_end|>",
    "x</s>y </s>",
    "<0x0A> <0xE2> are not bytes",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u6211\u6765\u5230\u5317\u4eac",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c \uff76\uff9e \uff21\uff22",
    "no\u00a0break \u2003em\u3000ideographic\u200bzero",
    f"a{MARK}mark and {MARK}{MARK} two {MARK}",
    MARK,
    "\x01\x02\x1b[31m\x7f\x85 control",
    "\U0010ffff \ue000 private \ufdd0",
    "\ufb01ne \u2167 \u00bd \u2126 \u212b",
    "ISN'T don't I'LL they've d'\u00e9t\u00e9 ' . , ! ?",
    "def f(x):\n    return {'a': [x ** 2]}  # two  spaces\n",
    "trailing spaces   ",
    "   leading spaces",
    "https://example.org/a?b=c&d=%20#e user@example.org",
    "!!!???...---___***",
    "\u1e9b\u0323 \u0130I\u0131i \u00df\u1e9e",
    "\u2028line\u2029paragraph\x0bvt\x0cff",
]
SPECIAL = ["<|endoftext|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]


def _json(tokenizer, change=lambda content: None):
    content = json.loads(tokenizer.to_str())
    change(content)
    return json.dumps(content, ensure_ascii=False, indent=2).encode()


def _add(tokenizer, texts):
    tokenizer.add_special_tokens([library.AddedToken(text, special=True) for text in texts])


def _byte_level(documents, steps, normalizer=None, special=("<|endoftext|>",)):
    tokenizer = library.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = steps, decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(
        documents,
        trainers.BpeTrainer(
            vocab_size=420,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    _add(tokenizer, special)
    return tokenizer


def gpt2(documents):
    return _json(_byte_level(documents, pre_tokenizers.ByteLevel(add_prefix_space=False)))


def _by_regex():
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(library.Regex(LLAMA_3), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def llama3(documents):
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
    tokenizer = _byte_level(documents, _by_regex(), special=[*special, "<|eot_id|>"])
    start = tokenizer.token_to_id("<|begin_of_text|>")
    template = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", start)]
    )
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), template]
    )
    return _json(tokenizer)


def qwen(documents):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = _byte_level(documents, _by_regex(), normalizers.NFC(), special)
    tokenizer.add_tokens([library.AddedToken("<tool_call>", special=False, normalized=False)])
    return _json(tokenizer)


def _byte_fallback(documents, normalizer, pre_tokenizer, decoder, special):
    tokenizer = library.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence(decoder)
    words = [word for document in documents for word in document.splitlines(keepends=True)]
    tokenizer.train_from_iterator(
        words,
        trainers.BpeTrainer(vocab_size=700, special_tokens=[*special, *BYTES], show_progress=False),
    )

    def leave_bytes(content):
        content["added_tokens"] = [
            token for token in content["added_tokens"] if token["content"] in special
        ]

    return _json(tokenizer, leave_bytes)


_REPLACE = normalizers.Replace(" ", MARK)
_FALLBACK = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]


def llama2(documents):
    return _byte_fallback(
        documents,
        normalizers.Sequence([normalizers.Prepend(MARK), _REPLACE]),
        None,
        [*_FALLBACK, decoders.Strip(" ", 1, 0)],
        ["<unk>", "<s>", "</s>"],
    )


def gemma(documents):
    return _byte_fallback(
        documents,
        _REPLACE,
        pre_tokenizers.Split(" ", behavior="merged_with_previous"),
        _FALLBACK,
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
    )


def mistral(documents):
    return _byte_fallback(
        documents,
        normalizers.Sequence([]),
        pre_tokenizers.Metaspace(MARK, prepend_scheme="first", split=False),
        [*_FALLBACK, decoders.Strip(" ", 1, 0)],
        ["<unk>", "<s>", "</s>"],
    )


def t5(documents):
    tokenizer = library.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(library.Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(MARK, prepend_scheme="always")
    tokenizer.train_from_iterator(
        documents,
        trainers.UnigramTrainer(
            vocab_size=400,
            special_tokens=["<pad>", "</s>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return _json(tokenizer)


def bert(documents):
    tokenizer = library.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        documents,
        trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(max_length=16)
    tokenizer.enable_padding(length=16)
    return _json(tokenizer)


HUGGING_FACE = {
    made.__name__: made for made in (gpt2, llama3, qwen, llama2, gemma, mistral, t5, bert)
}

_PLAIN = {"normalization_rule_name": "identity", "add_dummy_prefix": False}
SENTENCEPIECE = {
    "t5": {"normalization_rule_name": "nmt_nfkc", "bos_id": -1},
    "llama2": {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
    },
    "gemma": {
        **_PLAIN,
        "byte_fallback": True,
        "remove_extra_whitespaces": False,
        "user_defined_symbols": ["<start_of_turn>", "<end_of_turn>", "\n\n", "[toxicity=0]"],
        "control_symbols": ["<mask>"],
    },
    "plain": _PLAIN,
    "bytes": {"byte_fallback": True, "user_defined_symbols": ["<sep>"]},
    "words": {"model_type": "bpe", "normalization_rule_name": "nfkc_cf"},
}


def sentencepiece_model(documents, name):
    """Returns the serialized model of a name of `SENTENCEPIECE`."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(
            line for document in documents for line in document.splitlines() if line.strip()
        ),
        model_writer=model,
        vocab_size=650,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **SENTENCEPIECE[name],
    )
    return model.getvalue()
