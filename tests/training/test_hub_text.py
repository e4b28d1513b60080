"""The text of imported decoders from the run to the file on the device: keras-hub's own `generate` is the reference."""

import dataclasses
import io
import json

import keras_hub
import numpy as np
import pytest
import sentencepiece
import tokenizers

import tfscale
from tfscale.evaluation.generation import generate
from tfscale.evaluation.keras_decoder import KerasDecoder
from tfscale.text.builtin import builtin_corpus

# keras-hub leaves the file of a preset's SentencePiece model open.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file.*vocabulary.spm:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored.*vocabulary.spm:pytest.PytestUnraisableExceptionWarning"),
]
CONTEXT = 72
LENGTH = 32
"""Tokens of the start token, the prompt and the completion."""
TURNS = ["<start_of_turn>", "<end_of_turn>"]
HEADERS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
GROUPS = {"num_layers": 2, "hidden_dim": 32, "num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 48}
START = {"gpt2": "<|endoftext|>", "llama": "<s>", "llama3": "<|begin_of_text|>", "mistral": "<s>", "qwen2": None,
         "gemma": "<bos>"}  # fmt: skip
DIFFERS = ("llama", "llama3", "mistral", "gemma")
"""Models whose start token is not their end token."""


def sentence_pieces(sample, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample), model_writer=model, vocab_size=420, byte_fallback=True, minloglevel=2,
        num_threads=1, **options,
    )  # fmt: skip
    return model.getvalue()


@pytest.fixture(scope="module")
def their_tokenizers():
    """Small ones with the special tokens of each model."""
    sample = [line for file in builtin_corpus("python-stdlib") if file.name == "textwrap.py"
              for line in file.text().splitlines()]  # fmt: skip
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(sample, trainer)
    model = json.loads(library.to_str())["model"]
    vocabulary, merges = model["vocab"], [" ".join(pair) for pair in model["merges"]]
    end = {"<|endoftext|>": len(vocabulary)}
    headers = {text: len(vocabulary) + number for number, text in enumerate(HEADERS)}
    llama = sentence_pieces(sample, model_type="bpe", normalization_rule_name="identity")
    gemma = sentence_pieces(
        sample, model_type="bpe", normalization_rule_name="identity", add_dummy_prefix=False, pad_id=0, eos_id=1,
        bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
        remove_extra_whitespaces=False, user_defined_symbols=[*TURNS, "<table>", "\u2581\u2581"],
    )  # fmt: skip
    hub = keras_hub.models
    return {
        "gpt2": hub.GPT2Tokenizer(vocabulary | end, merges),
        "llama": hub.LlamaTokenizer(llama),
        "llama3": hub.Llama3Tokenizer(vocabulary | headers, merges),
        "mistral": hub.MistralTokenizer(llama),
        "qwen2": hub.QwenTokenizer(vocabulary | end, merges),
        "gemma": hub.GemmaTokenizer(gemma),
    }


def causal_lm(name, tokenizer):
    hub, size = keras_hub.models, tokenizer.vocabulary_size()
    if name == "gpt2":
        backbone = hub.GPT2Backbone(size, 2, 2, 32, 64, dropout=0.0, max_sequence_length=CONTEXT)
        model = hub.GPT2CausalLM(backbone, hub.GPT2CausalLMPreprocessor(tokenizer))
    elif name == "gemma":
        backbone = hub.GemmaBackbone(size, head_dim=8, **GROUPS)
        model = hub.GemmaCausalLM(backbone, hub.GemmaCausalLMPreprocessor(tokenizer))
    else:
        kind = {"llama": "Llama", "llama3": "Llama3", "mistral": "Mistral", "qwen2": "Qwen"}[name]
        backbone = getattr(hub, f"{kind}Backbone")(size, **GROUPS)
        preprocessor = getattr(hub, f"{kind}CausalLMPreprocessor")(tokenizer)
        model = getattr(hub, f"{kind}CausalLM")(backbone, preprocessor)
    rng = np.random.default_rng(1)
    for weight in backbone.weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape))
    # Single bytes are never the likeliest token, so that the text is not full of broken characters.
    special = set(tokenizer.special_token_ids)
    pieces = [tokenizer.id_to_token(id) for id in range(size)]
    words = [id for id, piece in enumerate(pieces) if id in special or (len(piece) > 1 and not piece.startswith("<"))]
    tables = [weight for weight in backbone.token_embedding.weights if size in weight.shape]
    table = tables[-1].numpy()
    kept = np.isin(np.arange(size), words)
    tables[-1].assign(table * (kept[:, None] if table.shape[0] == size else kept))
    model.compile(sampler="greedy", jit_compile=False)
    return model


@pytest.fixture(scope="module")
def presets(their_tokenizers, tmp_path_factory):
    """The folders of presets and their models, made when they are asked for."""
    folder, made = tmp_path_factory.mktemp("presets"), {}

    def make(name):
        if name not in made:
            model = causal_lm(name, their_tokenizers[name])
            model.save_to_preset(str(folder / name))
            tfscale.import_keras_hub(str(folder / name), str(folder / f"{name}_run"), sequence_length=CONTEXT)
            made[name] = model, str(folder / name), str(folder / f"{name}_run")
        return made[name]

    return make


PROMPT = "return"


@pytest.mark.parametrize("name", START)
def test_run_and_file_write_the_text_of_keras_hub(name, presets, tmp_path):
    model, _, run = presets(name)
    expected = model.generate(PROMPT, max_length=LENGTH)
    loaded = tfscale.load_run(run)
    tokenizer = loaded.tokenizer
    start = (tokenizer.piece(tokenizer.start_id),) if START[name] else ()
    assert start == tuple(filter(None, [START[name]])) and len(set(expected)) > 5
    count = LENGTH - len(tokenizer.prompt_ids(tokenizer.encode(PROMPT)))
    assert PROMPT + tfscale.generate(run, prompt=PROMPT, max_tokens=count).text == expected
    if name in DIFFERS:
        decoder = KerasDecoder(loaded.network)
        ended = tokenizer.with_special(dataclasses.replace(tokenizer.special, start_id=None))
        assert PROMPT + generate(decoder, ended, PROMPT, count).text != expected

    import time

    t = time.process_time()
    formats = ["tflite", *(["litertlm"] if 1 or name in BUNDLED else [])]
    for format in formats:
        folder = str(tmp_path / format)
        tfscale.export(run, output=folder, format=format, prefill_lengths=[8], parity_tokens=16)
        assert PROMPT + tfscale.generate(folder, prompt=PROMPT, max_tokens=count).text == expected
        print(format, time.process_time() - t)
    info = json.loads((tmp_path / "tflite" / "model.json").read_text())
    assert info["stop_ids"] == list(tokenizer.stop_ids) and info["start_id"] == tokenizer.start_id
    print(info, (tmp_path / "tflite" / "README.md").read_text()[:1500])
