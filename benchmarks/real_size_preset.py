"""Presets of keras-hub in the shapes of published models, with random weights."""

import json
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    # Gemma 3 270M: https://huggingface.co/google/gemma-3-270m/blob/main/config.json
    "gemma3-270m": {
        "class": "Gemma3",
        "vocabulary_size": 262_144,
        "image_size": None,
        "num_layers": 18,
        "num_query_heads": 4,
        "num_key_value_heads": 1,
        "hidden_dim": 640,
        "intermediate_dim": 2_048,
        "head_dim": 256,
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "use_sliding_window_attention": True,
        "sliding_window_size": 512,
    },
    # Qwen 3 0.6B: https://huggingface.co/Qwen/Qwen3-0.6B/blob/main/config.json
    "qwen3-0.6b": {
        "class": "Qwen3",
        "vocabulary_size": 151_936,
        "num_layers": 28,
        "num_query_heads": 16,
        "num_key_value_heads": 8,
        "hidden_dim": 1_024,
        "intermediate_dim": 3_072,
        "head_dim": 128,
        "rope_max_wavelength": 1_000_000,
        "layer_norm_epsilon": 1e-6,
        "tie_word_embeddings": True,
    },
    # For the test of this script.
    "tiny": {
        "class": "Gemma3",
        "vocabulary_size": 1_000,
        "image_size": None,
        "num_layers": 6,
        "num_query_heads": 2,
        "num_key_value_heads": 1,
        "hidden_dim": 32,
        "intermediate_dim": 64,
        "head_dim": 16,
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "use_sliding_window_attention": True,
        "sliding_window_size": 16,
    },
}


def make(shape: str, folder: Path) -> None:
    """Writes the preset and a text to train on."""
    import keras
    import keras_hub

    options = dict(SHAPES[shape])
    family = options.pop("class")
    keras.utils.set_random_seed(1)
    backbone = getattr(keras_hub.models, f"{family}Backbone")(**options, dtype="float32")
    tokenizer = _sentencepiece(options["vocabulary_size"]) if family == "Gemma3" else None
    if family == "Gemma3":
        own = keras_hub.models.Gemma3Tokenizer(proto=tokenizer, has_vision_tokens=False)
        backbone.save_to_preset(str(folder / "preset"))
        own.save_to_preset(str(folder / "preset"))
    else:
        vocabulary, merges = _byte_pairs(options["vocabulary_size"])
        own = keras_hub.models.Qwen3Tokenizer(vocabulary=vocabulary, merges=merges)
        backbone.save_to_preset(str(folder / "preset"))
        own.save_to_preset(str(folder / "preset"))
    (folder / "text.txt").write_text(_text())


def _text() -> str:
    from tfscale.text.builtin import builtin_corpus

    files = [file.text() for file in builtin_corpus("python-stdlib")][:40]
    return "\n".join(files)[:400_000]


def _sentencepiece(size: int) -> bytes:
    """Returns a SentencePiece model of `size` pieces, most of which no text has."""
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_text().splitlines()),
        model_writer=model,
        vocab_size=min(4_000, size - 100),
        model_type="bpe",
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        user_defined_symbols=["<start_of_turn>", "<end_of_turn>"],
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    for index in range(size - len(proto.pieces)):
        proto.pieces.add(piece=f"\u2581made{index}up", score=-1e6 - index)
    proto.trainer_spec.vocab_size = size
    return proto.SerializeToString()


def _byte_pairs(size: int) -> tuple[dict[str, int], list[str]]:
    """Returns vocabulary and merges of byte-pair encoding, filled up with made-up tokens."""
    import tokenizers

    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=4_000, initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(_text().splitlines(), trainer)
    model = json.loads(library.to_str())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    rest = size - len(vocabulary) - len(special)
    for index in range(rest):
        vocabulary[f"\u0120made{index}up"] = len(vocabulary)
    for text in special:
        vocabulary[text] = len(vocabulary)
    return vocabulary, [" ".join(pair) for pair in model["merges"]]
