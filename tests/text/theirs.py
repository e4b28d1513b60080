"""Tokenizers of other libraries, trained on small texts in the forms of published ones."""

import io
import json

import sentencepiece
import tokenizers as library
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.text.hostile import MARK
from tfscale.config import PrepareConfig
from tfscale.data.prepare import prepare
from tfscale.text.tokenizers.word_patterns import LLAMA_3

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

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


def prepared(folder, documents):
    """Returns a data folder of documents of a line, by the tokenizer that lies in `folder`.

    The training split and the validation split have the same documents.
    """
    for name in ("train.txt", "validation.txt"):
        (folder / name).write_text("\n".join(documents), encoding="utf-8")
    config = PrepareConfig(
        text=[str(folder / "train.txt")],
        documents="line",
        tokenizer_from=str(folder),
        validation_text=[str(folder / "validation.txt")],
        validation_fraction=0,
        test_fraction=0,
        output=str(folder / "data"),
    )
    prepare(config, progress=False)
    return config.output
