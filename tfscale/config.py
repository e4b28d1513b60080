"""Every option of tfscale, once: the command line, the YAML files and the Python API are all made from these classes.

Each field's docstring states its unit and its effect, and becomes its line of `--help`. The classes are frozen and
keyword-only; a value that is out of range is refused when the object is made.
"""

import dataclasses
import difflib
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tfscale.errors import ConfigError, check_range
from tfscale.model_config import (
    MODEL_CONFIGS,
    BERTConfig,
    BiLSTMConfig,
    GRUConfig,
    LSTMConfig,
    ModelConfig,
    NGramConfig,
    NNLMConfig,
    RecurrentConfig,
    RNNConfig,
    TransformerConfig,
)
from tfscale.options import Options
from tfscale.refused import explain_refusal

__all__ = [
    "EDIT_COST",
    "MODEL_CONFIGS",
    "BERTConfig",
    "BiLSTMConfig",
    "ExportConfig",
    "GRUConfig",
    "LSTMConfig",
    "ModelConfig",
    "NGramConfig",
    "NNLMConfig",
    "Precision",
    "PrepareConfig",
    "Quantization",
    "RNNConfig",
    "RecurrentConfig",
    "SamplingConfig",
    "TokenizerKind",
    "TrainConfig",
    "TransformerConfig",
    "WordSegmenter",
    "make_config",
    "to_dict",
]

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]
TokenizerKind = Literal["sentencepiece", "wordpiece", "word", "char", "byte"]
WordSegmenter = Literal["none", "jieba"]
Quantization = Literal["none", "float16", "int8", "int4", "int4_all"]


EDIT_COST = 8.0
"""Nats by which a text must become more likely for `correct` to change one letter."""


def to_dict(config: Any) -> dict[str, Any]:
    """The fields of a config as plain values, for YAML, JSON and digests."""
    return dataclasses.asdict(config)


def make_config(kind: Any, options: dict[str, Any]) -> Any:
    """An object of a config class from keyword arguments.

    Raises:
        ConfigError: an option that the class does not have, with the closest one that it has; or one that is missing.
    """
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for name in options:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}"
            raise ConfigError(f"unknown option {name} of {kind.__name__}; {hint}")
    for name, item in fields.items():
        needed = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if needed and name not in options:
            raise ConfigError(f"{kind.__name__} needs the option {name}")
    return kind(**options)


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(Options):
    """Text to tokenizer, token shards and manifest."""

    output: str
    """Data folder to write. It must be absent, empty, or an earlier data folder (which is replaced)."""
    text: list[str] = field(default_factory=list)
    """Files, folders or globs of the training text, local or gs://, plain or .gz."""
    corpus: Literal["python-stdlib", "python-docs"] | None = None
    """A built-in corpus in the place of --text, read from this Python installation."""
    validation_text: list[str] = field(default_factory=list)
    """Files of the validation split. Without them a fraction of the documents is held out."""
    test_text: list[str] = field(default_factory=list)
    """Files of the test split. Without them a fraction of the documents is held out."""
    validation_fraction: float = 0.05
    """Fraction of the documents held out for validation, 0 to 0.5; chosen by a hash of each document and the seed. Of a
    single document it is a part at its end."""
    test_fraction: float = 0.05
    """Fraction of the documents held out for the test split, 0 to 0.5."""
    documents: Literal["file", "paragraph", "line"] = "file"
    """What one document is: a file, a paragraph (blank lines between), or a line. An end token follows each."""
    tokenizer: TokenizerKind = "sentencepiece"
    """Kind of tokenizer to train on the training split."""
    tokenizer_from: str | None = None
    """Folder of a tokenizer (or a data folder, or a run folder) to use in the place of training one."""
    sentencepiece_model: Literal["unigram", "bpe"] = "unigram"
    """SentencePiece algorithm. No effect on the other tokenizers."""
    word_segmenter: WordSegmenter = "none"
    """What finds the words of the word tokenizer: white space (none), or jieba, for Chinese."""
    vocabulary_size: int = 0
    """Entries of the vocabulary, special tokens included; 0 takes 8,192, or what the text supports. No effect for byte;
    an upper bound for word and char."""
    tokenizer_sample: int = 10_000_000
    """Characters of training text that the tokenizer is trained on, spread evenly over the documents."""
    unicode_normalization: Literal["none", "NFC", "NFKC"] = "none"
    """Cleaning: Unicode normal form."""
    strip_html: bool = False
    """Cleaning: remove HTML tags and comments, resolve entities."""
    collapse_whitespace: bool = False
    """Cleaning: runs of spaces and tabs become one space, of line ends at most two; ends are stripped."""
    lowercase: bool = False
    """Cleaning: lower case."""
    drop_duplicates: bool = False
    """Cleaning: keep the first of documents that are exactly the same."""
    invalid_utf8: Literal["error", "replace", "skip"] = "error"
    """Bytes that are not UTF-8: name the place and stop, replace them by U+FFFD, or skip the file; counted."""
    shards: int = 0
    """Shards of the training split; 0 takes one per 4 million tokens, and at least 4."""
    processes: int = 0
    """Processes that tokenize; 0 takes one per core. The output does not depend on it."""
    seed: int = 0
    """Seed of the splits and of the tokenizer's training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.text) == bool(self.corpus):
            raise ConfigError(
                f"give either text or corpus; received text={self.text!r} and corpus={self.corpus!r} "
                "(for example --text 'books/*.txt', or --corpus python-stdlib)"
            )
        if self.word_segmenter != "none" and (self.tokenizer != "word" or self.tokenizer_from):
            raise ConfigError(
                f"word_segmenter={self.word_segmenter!r} is for training a word tokenizer: --tokenizer word"
            )
        check_range(0 <= self.validation_fraction <= 0.5, "validation_fraction", self.validation_fraction, "0 to 0.5")
        check_range(0 <= self.test_fraction <= 0.5, "test_fraction", self.test_fraction, "0 to 0.5")
        size = self.vocabulary_size
        check_range(size == 0 or size >= 4, "vocabulary_size", size, "4 or more, or 0 (automatic)")
        check_range(self.tokenizer_sample >= 1, "tokenizer_sample", self.tokenizer_sample, "1 or more")
        check_range(self.shards >= 0, "shards", self.shards, "0 (automatic) or more")
        check_range(self.processes >= 0, "processes", self.processes, "0 (one per core) or more")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Options):
    """How a model is trained: batch, optimizer, schedule, precision, and what is written when."""

    section: ClassVar[str] = "train"

    steps: int = 1000
    """Optimizer steps of the whole run."""
    global_batch_size: int = 32
    """Windows per optimizer step over all replicas (with parameter servers: of the one worker that takes the step);
    must be divisible by replicas x micro_batches."""
    micro_batches: int = 1
    """Parts into which each replica cuts its batch, one after the other: less memory, the same answer."""
    remat: bool = False
    """Compute the activations of Transformer blocks and LSTM layers again in the backward pass: less memory, the same
    answer, up to a third more work."""
    loss_chunk_tokens: int = 0
    """Most tokens of a replica whose logits are held at once; the logits of a large vocabulary are most of a small
    model's memory. 0 holds all of a micro-batch."""
    strategy: Literal["auto", "single", "mirrored", "multi_worker", "tpu", "parameter_server"] = "auto"
    """Where to train: one device, all local devices (mirrored), all processes of the cluster that the environment
    names, in step (multi_worker) or each at its own pace (parameter_server), a TPU, or what machine and environment
    offer (auto)."""
    precision: Precision = "float32"
    """Compute type. mixed_float16 scales the loss dynamically; weights stay float32 in all three."""
    xla: Literal["auto", "on", "off"] = "auto"
    """Compile forward and backward by XLA; auto is on, except for an LSTM on a GPU, where cuDNN is faster. A TPU
    compiles by itself."""
    learning_rate: float = 0.0
    """Peak learning rate; 0 takes one that suits the model's family: 1e-2 for lstm, 5e-3 for gru, rnn and bilstm,
    1e-3 for the others."""
    warmup_steps: int = 100
    """Optimizer steps over which the learning rate rises linearly to its peak."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up: half a cosine down to final_learning_rate_fraction, or constant."""
    final_learning_rate_fraction: float = 0.1
    """Learning rate at the last step, as a fraction of the peak. No effect with schedule=constant."""
    weight_decay: float = 0.1
    """AdamW's decoupled weight decay per unit of learning rate; norms, biases and embeddings are left alone."""
    beta_1: float = 0.9
    """AdamW's decay rate of the first moment."""
    beta_2: float = 0.99
    """AdamW's decay rate of the second moment."""
    clip_norm: float = 1.0
    """Largest global gradient norm; 0 does not clip."""
    label_smoothing: float = 0.0
    """Probability mass spread over the vocabulary in the training target, 0 to below 1. Reported losses have none."""
    ema_decay: float = 0.0
    """Decay per step of a moving average of the weights, which is validated and becomes the result; 0 keeps none. After
    t steps it is at most (1 + t) / (10 + t), as in tf.train.ExponentialMovingAverage with num_updates, so that the
    random first weights do not linger in the average."""
    validate_every: int = 250
    """Optimizer steps between validations (and at the last step)."""
    validation_batches: int = 0
    """Batches (of global_batch_size / micro_batches; of a stateful model of a window from each of 8 streams) per
    validation during training; 0 takes the whole split, as the validation at the end always does."""
    checkpoint_every: int = 250
    """Optimizer steps between checkpoints (and at the last step)."""
    log_every: int = 20
    """Optimizer steps per line of history.jsonl, and per call of the compiled training loop."""
    shuffle_windows: int = 65_536
    """Windows in the shuffle buffers, over all of them; 1 reads in order. A stateful model always reads in order, and
    takes the default or 1."""
    result: Literal["best", "last"] = "best"
    """Weights that become the run's model: of the lowest validation loss, or the last. Without validation: the last."""
    tensorboard: bool = True
    """Write TensorBoard events to RUN_DIR/tensorboard."""
    seed: int = 0
    """Seed of initial weights, data order and dropout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one = ("steps", "global_batch_size", "micro_batches", "validate_every", "checkpoint_every",
                        "log_every", "shuffle_windows")  # fmt: skip
        for name in at_least_one:
            check_range(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "1 or more")
        for name in ("loss_chunk_tokens", "warmup_steps", "validation_batches", "weight_decay", "clip_norm", "seed"):
            check_range(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "0 or more")
        check_range(self.learning_rate >= 0, "train.learning_rate", self.learning_rate, "0 (the family's) or more")
        check_range(0 <= self.final_learning_rate_fraction <= 1, "train.final_learning_rate_fraction",
               self.final_learning_rate_fraction, "0 to 1")  # fmt: skip
        for name in ("beta_1", "beta_2", "label_smoothing", "ema_decay"):
            check_range(0 <= getattr(self, name) < 1, f"train.{name}", getattr(self, name), "0 to below 1")
        if self.global_batch_size % self.micro_batches:
            raise ConfigError(
                f"train.global_batch_size={self.global_batch_size} is not divisible by "
                f"train.micro_batches={self.micro_batches}"
            )

    def for_model(self, model: ModelConfig) -> "TrainConfig":
        """The same options, with the learning rate of the model's family where none is named.

        Example:
            TrainConfig().for_model(LSTMConfig()).learning_rate    # 0.01
        """
        return self if self.learning_rate else dataclasses.replace(self, learning_rate=model.learning_rate)


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Options):
    """How the next token is drawn."""

    temperature: float = 0.0
    """Divides the logits; 0 takes the most likely token (greedy)."""
    top_k: int = 0
    """Draw among the k most likely tokens; 0 takes all."""
    top_p: float = 1.0
    """Draw among the fewest most likely tokens whose probabilities reach p (Holtzman et al. 2020); 1 takes all."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens already seen (Keskar et al. 2019); 1 does nothing."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.temperature >= 0, "temperature", self.temperature, "0 (greedy) or more")
        check_range(self.top_k >= 0, "top_k", self.top_k, "0 (all) or more")
        check_range(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 to 1")
        check_range(self.repetition_penalty > 0, "repetition_penalty", self.repetition_penalty, "more than 0")
        check_range(self.seed >= 0, "seed", self.seed, "0 or more")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Options):
    """A trained run to a file for the device."""

    output: str
    """Export folder to write. It must be absent, empty, or an earlier export (which is replaced)."""
    format: Literal["tflite", "litertlm", "saved_model", "web", "ngram", "arpa"] = "tflite"
    """tflite is a file for LiteRT; litertlm is that file with its tokenizer in a bundle for LiteRT-LM (Transformers);
    saved_model is a folder for TensorFlow and TensorFlow Serving, in float32; web is the .tflite file with a page that
    runs it in the browser. An n-gram model goes to ngram, a compact file, or arpa, which other programs read."""
    quantize: Quantization = "none"
    """Weights in the file: float32 (none), float16, int8 (computed in int8 where the runtime can), int4 (matrices in
    blocks of 64 or 32 weights, with embedding tables in int8; the tables too with int4_all)."""
    prefill_lengths: list[int] = field(default_factory=lambda: [8, 64])
    """Tokens per call of the prompt signatures of a Transformer; those above the context are left out."""
    parity_tokens: int = 512
    """Held-out tokens on which the file is compared with the Keras model."""
    threads: int = 1
    """CPU threads of the runtime in the comparison and the timing."""

    def __post_init__(self) -> None:
        for choice in (self.format, self.quantize):
            explain_refusal(str(choice))
        super().__post_init__()
        check_range(bool(self.prefill_lengths) and min(self.prefill_lengths) >= 1,
               "prefill_lengths", self.prefill_lengths, "one or more lengths of 1 or more")  # fmt: skip
        check_range(16 <= self.parity_tokens <= 100_000, "parity_tokens", self.parity_tokens, "16 to 100,000")
        check_range(self.threads >= 1, "threads", self.threads, "1 or more")
        if self.format == "saved_model" and self.quantize != "none":
            raise ConfigError(
                f"quantize={self.quantize!r} is for format=tflite and litertlm; a saved_model holds float32 weights"
            )
