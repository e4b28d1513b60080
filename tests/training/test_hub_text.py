"""The text of imported decoders from the run to the file on the device: keras-hub's own `generate` is the reference."""

import dataclasses
import io
import json

import keras
import keras_hub
import numpy as np
import pytest
import sentencepiece
import tokenizers

import tfscale
from tests.slow import slow_but
from tfscale import cli
from tfscale.config import ExportConfig
from tfscale.device.bundle import read_bundle
from tfscale.errors import ConfigError, PromptError, TokenizerError
from tfscale.exporting.export import export_run
from tfscale.inference.generation import generate
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.runs.hub import tokenizer_of
from tfscale.text.builtin import builtin_corpus
from tfscale.text.score import token_nll
from tfscale.text.tokenizers import load_tokenizer

# keras-hub leaves the file of a preset's SentencePiece model open.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file.*vocabulary.spm:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored.*vocabulary.spm:pytest.PytestUnraisableExceptionWarning"
    ),
]
PROMPT = "return"
CONTEXT = 72
LENGTH = 32
"""Tokens of the start token, the prompt and the completion."""
TURNS = ["<start_of_turn>", "<end_of_turn>"]
HEADERS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]
GROUPS = {
    "num_layers": 2,
    "hidden_dim": 32,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_dim": 48,
}
START = {
    "gpt2": "<|endoftext|>",
    "llama": "<s>",
    "llama3": "<|begin_of_text|>",
    "mistral": "<s>",
    "qwen2": None,
    "gemma": "<bos>",
    "qwen3": None,
    "llama3.2": "<|begin_of_text|>",
    "gemma2": "<bos>",
    "gemma3": "<bos>",
    "phi3": "<s>",
    "smollm3": None,
}
DIFFERS = ("llama", "llama3", "mistral", "gemma")
"""Models whose start token is not their end token, of which files are made."""
WINDOWED = {
    "head_dim": 8,
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
    "use_sliding_window_attention": True,
    "sliding_window_size": 6,
}
OPTIONS = {
    "llama3.2": {
        "rope_max_wavelength": 500,
        "rope_frequency_adjustment_factor": 32.0,
        "rope_low_freq_factor": 1.0,
        "rope_high_freq_factor": 4.0,
        "rope_pretraining_sequence_length": 20,
        "tie_word_embeddings": True,
    },
    "qwen3": {"head_dim": 12},
    "gemma": {"head_dim": 8},
    "gemma2": {**WINDOWED, "attention_logit_soft_cap": 5.0, "final_logit_soft_cap": 30.0},
    "gemma3": {**WINDOWED, "num_layers": 6, "image_size": None},
    "smollm3": {
        "num_attention_heads": 4,
        "num_layers": 4,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rope_layer_enabled_list": [True, True, True, False],
        "layer_types": ["full_attention"] * 4,
        "mlp_bias": False,
        "layer_norm_epsilon": 1e-6,
        "max_position_embeddings": CONTEXT,
        "rope_theta": 5_000_000.0,
        "partial_rotary_factor": 1.0,
    },
}
CLASSES = {
    "llama": "Llama",
    "llama3": "Llama3",
    "llama3.2": "Llama3",
    "mistral": "Mistral",
    "qwen2": "Qwen",
    "qwen3": "Qwen3",
    "gemma": "Gemma",
    "gemma2": "Gemma",
    "gemma3": "Gemma3",
    "phi3": "Phi3",
    "smollm3": "SmolLM3",
}


GEMMA_PIECES = {
    "model_type": "bpe",
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "pad_id": 0,
    "eos_id": 1,
    "bos_id": 2,
    "unk_id": 3,
    "pad_piece": "<pad>",
    "eos_piece": "<eos>",
    "bos_piece": "<bos>",
    "unk_piece": "<unk>",
    "remove_extra_whitespaces": False,
}
"""Options of SentencePiece by which Gemma's tokenizer was trained."""


def sentence_pieces(sample, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample),
        model_writer=model,
        vocab_size=420,
        byte_fallback=True,
        minloglevel=2,
        num_threads=1,
        **options,
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def their_tokenizers():
    """Small ones with the special tokens of each model."""
    sample = [
        line
        for file in builtin_corpus("python-stdlib")
        if file.name == "textwrap.py"
        for line in file.text().splitlines()
    ]
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(sample, trainer)
    model = json.loads(library.to_str())["model"]
    vocabulary, merges = model["vocab"], [" ".join(pair) for pair in model["merges"]]
    end = {"<|endoftext|>": len(vocabulary)}
    headers = {text: len(vocabulary) + number for number, text in enumerate(HEADERS)}
    size = len(vocabulary) + 1
    texts = "<|begin_of_text|>", "<|end_of_text|>", "<think>", "</think>"
    thoughts = {text: len(vocabulary) + number for number, text in enumerate(texts)}
    llama = sentence_pieces(sample, model_type="bpe", normalization_rule_name="identity")
    gemma = sentence_pieces(
        sample,
        **GEMMA_PIECES,
        user_defined_symbols=[*TURNS, "<table>", "\u2581\u2581"],
    )
    hub = keras_hub.models
    return {
        "gpt2": hub.GPT2Tokenizer(vocabulary | end, merges),
        "llama": hub.LlamaTokenizer(llama),
        "llama3": hub.Llama3Tokenizer(vocabulary | headers, merges),
        "mistral": hub.MistralTokenizer(llama),
        "qwen2": hub.QwenTokenizer(vocabulary | end, merges),
        "gemma": hub.GemmaTokenizer(gemma),
        "qwen3": hub.Qwen3Tokenizer(vocabulary | end | {"<|im_end|>": size}, merges),
        "llama3.2": hub.Llama3Tokenizer(vocabulary | headers, merges),
        "gemma2": hub.GemmaTokenizer(gemma),
        "gemma3": hub.Gemma3Tokenizer(gemma, has_vision_tokens=False),
        "phi3": hub.Phi3Tokenizer(
            sentence_pieces(
                sample,
                model_type="bpe",
                normalization_rule_name="identity",
                user_defined_symbols=["<|endoftext|>", "<|assistant|>", "<|end|>"],
            )
        ),
        "smollm3": hub.SmolLM3Tokenizer(vocabulary | thoughts, merges),
    }


def test_words_of_qwen_have_one_digit_each():
    """A merge of two digits, which Qwen's own vocabulary has none of, shows how words are cut."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: id for id, text in enumerate([*alphabet, "12", "<|endoftext|>"])}
    qwen = tokenizer_of(keras_hub.models.QwenTokenizer(vocabulary, ["1 2"]))
    assert [qwen.piece(id) for id in qwen.encode("a123")] == ["a", "1", "2", "3"]
    gpt2 = tokenizer_of(keras_hub.models.GPT2Tokenizer(vocabulary, ["1 2"]))
    assert [gpt2.piece(id) for id in gpt2.encode("a123")] == ["a", "12", "3"]


def causal_lm(name, tokenizer):
    keras.utils.set_random_seed(3)
    hub, size = keras_hub.models, tokenizer.vocabulary_size()
    if name == "gpt2":
        backbone = hub.GPT2Backbone(size, 2, 2, 32, 64, dropout=0.0, max_sequence_length=CONTEXT)
        model = hub.GPT2CausalLM(backbone, hub.GPT2CausalLMPreprocessor(tokenizer))
    else:
        kind, sizes = CLASSES[name], GROUPS | OPTIONS.get(name, {})
        if name == "smollm3":
            del sizes["num_query_heads"]
        backbone = getattr(hub, f"{kind}Backbone")(size, **sizes)
        preprocessor = getattr(hub, f"{kind}CausalLMPreprocessor")(tokenizer)
        model = getattr(hub, f"{kind}CausalLM")(backbone=backbone, preprocessor=preprocessor)
    rng = np.random.default_rng(1)
    for weight in backbone.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape))
    # Single bytes are never the likeliest token, so that the text is not full of broken characters.
    special = set(tokenizer.special_token_ids)
    pieces = [tokenizer.id_to_token(id) for id in range(size)]
    words = [
        id
        for id, piece in enumerate(pieces)
        if id in special or (len(piece) > 1 and not piece.startswith("<"))
    ]
    tables = [weight for weight in backbone.token_embedding.weights if size in weight.shape]
    table = tables[-1].numpy()
    kept = np.isin(np.arange(size), words)
    if name == "llama3":
        table[:, tokenizer.token_to_id("<|start_header_id|>")] *= (
            1.5  # It comes up in the test's text.
        )
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
            tfscale.import_(
                str(folder / name), str(folder / f"{name}_run"), sequence_length=CONTEXT
            )
            made[name] = model, str(folder / name), str(folder / f"{name}_run")
        return made[name]

    return make


def text_of(target, prompt, count, **options):
    return prompt + tfscale.generate(target, prompt=prompt, max_tokens=count, **options).text


def export(run, folder, format):
    loaded = tfscale.open(run)
    held_out = [*loaded.tokenizer.encode("return the text of a line"), loaded.tokenizer.end_id]
    config = ExportConfig(output=str(folder), format=format, prefill_lengths=[8])
    export_run(loaded.run, config, held_out=held_out * 2)
    return str(folder)


@pytest.mark.parametrize("name", slow_but(list(START), "llama"))
def test_run_and_file_write_the_text_of_keras_hub(name, presets, tmp_path):
    model, _, run = presets(name)
    expected = model.generate(PROMPT, max_length=LENGTH)
    loaded = tfscale.open(run)
    tokenizer = loaded.tokenizer
    assert [tokenizer.piece(id) for id in tokenizer.prompt_start] == [START[name]] * (
        START[name] is not None
    )
    assert len(set(expected)) > 5
    count = LENGTH - len(tokenizer.prompt_ids(tokenizer.encode(PROMPT)))
    assert text_of(run, PROMPT, count) == expected
    if name not in DIFFERS:
        return
    ended = tokenizer.with_special(dataclasses.replace(tokenizer.special, start_id=None))
    assert PROMPT + generate(KerasDecoder(loaded.network), ended, PROMPT, count).text != expected
    if name == "mistral":
        return
    file = export(run, tmp_path / "file", "tflite")
    assert text_of(file, PROMPT, count) == expected
    texts = [tmp_path / "1.txt", tmp_path / "2.txt"]
    parts = []
    for path, text in zip(texts, ("return a line", "wrap the text"), strict=True):
        path.write_text(text)
        parts.append(tokenizer.encode(text))
    read, told = (
        [id for ids in parts for id in (tokenizer.start_id, *ids)],
        [id for ids in parts for id in (*ids, tokenizer.end_id)],
    )
    hidden = model.backbone(
        {"token_ids": np.array([read]), "padding_mask": np.ones((1, len(read)), int)}
    )
    logits = np.asarray(model.backbone.token_embedding(hidden, reverse=True))[0]
    nll = float(token_nll(logits, np.array(told)).mean())
    for target in (run, file):
        score = tfscale.evaluate(target, text=[str(path) for path in texts])
        assert score["nll_per_token"] == pytest.approx(nll, rel=1e-4) and score["tokens"] == len(
            told
        )
    info = json.loads((tmp_path / "file" / "model.json").read_text())
    assert info["prompt_start"] == [info["start_id"]] == [tokenizer.start_id] != [info["end_id"]]
    assert info["stop_ids"] == list(tokenizer.stop_ids)
    begins = f"id {tokenizer.start_id} begins a prompt, id {tokenizer.end_id} ends a document"
    assert begins in (tmp_path / "file" / "README.md").read_text()


@pytest.mark.parametrize("name", slow_but(["llama", "qwen2", "gemma"], "llama"))
def test_bundles_write_the_text_of_keras_hub(name, presets, tmp_path):
    """With a space before the first word, without a start token, and with pieces that a user defined."""
    model, _, run = presets(name)
    folder, tokenizer = export(run, tmp_path / "bundle", "litertlm"), load_tokenizer(run)
    count = LENGTH - len(tokenizer.prompt_ids(tokenizer.encode(PROMPT)))
    completion = model.generate(PROMPT, max_length=LENGTH).removeprefix(PROMPT)
    written = tfscale.generate(folder, prompt=PROMPT, max_tokens=count).text
    # LiteRT-LM's SentencePiece takes the space of a first piece away where a text begins with one.
    cut = completion.removeprefix(" ") if tokenizer.special.leading_space else completion
    assert written in (completion, cut) and len(cut) > 20
    described = read_bundle(str(tmp_path / "bundle" / "model.litertlm"))
    assert list(described.start_token.token_ids.ids) == list(tokenizer.prompt_start)


@pytest.mark.slow
def test_every_stop_token_ends_the_text(presets, tmp_path):
    """keras-hub's tokenizer of Llama 3 names two of them, the import a third one."""
    model, preset, run = presets("llama3")
    ids = {text: model.preprocessor.tokenizer.token_to_id(text) for text in HEADERS}
    assert load_tokenizer(run).stop_ids == (ids["<|end_of_text|>"], ids["<|eot_id|>"])
    stopping = str(tmp_path / "run")
    header = "<|start_header_id|>"
    words = [
        "import",
        preset,
        "--output",
        stopping,
        "--sequence-length",
        str(CONTEXT),
        "--stop-token",
        header,
    ]
    assert cli.main(words) == 0
    tokenizer = load_tokenizer(stopping)
    assert tokenizer.stop_ids == (ids["<|end_of_text|>"], ids["<|eot_id|>"], ids[header])
    expected = model.generate(PROMPT, max_length=LENGTH, stop_token_ids=tokenizer.stop_ids)
    # The model draws the token early, and without it goes on.
    assert len(expected) < len(model.generate(PROMPT, max_length=LENGTH))
    bundle = export(stopping, tmp_path / "bundle", "litertlm")
    for target in (stopping, bundle):
        assert text_of(target, PROMPT, LENGTH) == expected
    assert tfscale.generate(stopping, prompt=PROMPT, max_tokens=LENGTH).stopped_by == "end"
    described = read_bundle(str(tmp_path / "bundle" / "model.litertlm"))
    assert [list(stop.token_ids.ids) for stop in described.stop_tokens] == [
        [id] for id in tokenizer.stop_ids
    ]

    chat = f"<|start_header_id|>user<|end_header_id|>{PROMPT}"
    with pytest.raises(
        ConfigError,
        match=r"reads the text of a special token \(id 402\) in the prompt as that token",
    ):
        tfscale.generate(bundle, prompt=chat)
    expected = model.generate(chat, max_length=LENGTH, stop_token_ids=tokenizer.stop_ids)
    for target in (stopping, bundle):
        written = tfscale.generate(
            target, prompt=chat, max_tokens=LENGTH - 6, parse_special=True
        ).text
        assert (
            f"user{PROMPT}{written}" == expected
        )  # keras-hub leaves special tokens out of the prompt, too.


def test_what_an_import_says_of_its_tokens(presets, tmp_path, capsys):
    _, preset, _ = presets("gemma")
    words = ["import", preset, "--output", str(tmp_path / "run")]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "start token      <bos>" in shown and "stop tokens      <eos>\n" in shown
    assert (
        "its answers end with <end_of_turn>: import it with --stop-token '<end_of_turn>'" in shown
    )
    assert cli.main([*words, "--stop-token", "<end_of_turn>", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["stop_tokens"] == ["<eos>", "<end_of_turn>"] and result["turns_end_with"] == []
    assert cli.main([*words, "--stop-token", "return"]) == 2
    error = capsys.readouterr().err
    assert (
        "'return' is not a special token of GemmaTokenizer, whose special tokens are <pad>, <eos>"
        in error
    )
    one = tfscale.import_(preset, str(tmp_path / "one"), stop_tokens="<end_of_turn>")
    assert one["stop_tokens"] == ["<eos>", "<end_of_turn>"]


def test_special_tokens_are_text_unless_they_are_asked_for(their_tokenizers):
    chat = "<start_of_turn>user\nreturn  <table><end_of_turn>"
    gemma = tokenizer_of(their_tokenizers["gemma"])
    assert (
        gemma.encode(chat, parse_special=True)
        == np.asarray(their_tokenizers["gemma"](chat)).tolist()
    )
    plain = gemma.encode(chat)
    assert gemma.decode(plain) == chat and not set(plain) & set(gemma.special_tokens.values())
    # Pieces of text that the model's makers defined stay one token.
    assert gemma.piece(gemma.encode("<table>")[0]) == "<table>"
    with pytest.raises(
        PromptError, match=r"the tokenizer has no special token '<\|eot_id\|>'; it has <pad>, <eos>"
    ):
        gemma.encode("<|eot_id|>", parse_special=True)

    chat = "<|start_header_id|>user<|end_header_id|>return"
    llama = tokenizer_of(their_tokenizers["llama3"])
    assert (
        llama.encode(chat, parse_special=True)
        == np.asarray(their_tokenizers["llama3"](chat)).tolist()
    )
    assert list(llama.special_tokens) == HEADERS and not set(llama.encode(chat)) & set(
        llama.special_tokens.values()
    )
    assert llama.decode(llama.encode(chat)) == chat

    llama = tokenizer_of(their_tokenizers["llama"])
    for text in ("return a  line", " return", "", "\u2581x", "a\nb"):
        assert llama.decode(llama.encode(text)) == text
    assert (
        llama.encode("return a line")
        == np.asarray(their_tokenizers["llama"]("return a line")).tolist()
    )
    assert llama.encode("<s>") == llama.encode_continued(
        " <s>"
    ) and llama.start_id not in llama.encode("<s>")
    # A space stands before the text once, before or behind a special token.
    space = llama.encode_continued(" ")
    assert llama.encode("<s>return", parse_special=True) == [
        *space,
        1,
        *llama.encode_continued("return"),
    ]


def test_the_end_of_a_text_is_what_the_tokenizer_says(their_tokenizers):
    class Other(keras_hub.models.LlamaTokenizer):
        def __init__(self, proto, end):
            super().__init__(proto)
            self.end_token, self.end_token_id = end

    proto = their_tokenizers["llama"].proto
    assert tokenizer_of(Other(proto, ("<s>", 1))).end_id == 1
    with pytest.raises(
        TokenizerError,
        match=r"Other ends a text with '<end>' \(id 7\) and its SentencePiece model with",
    ):
        tokenizer_of(Other(proto, ("<end>", 7)))
