"""`tfscale explain`: why a classifier gives a label, or a language model the last token of a text.

Integrated gradients explain the log-odds of a label, log p - log(1 - p), which do not level off
where the model is sure as a log-probability does; of a token they explain its log-probability. They
begin at a text whose tokens are zero vectors; the end tokens around it stay. LIME (Ribeiro et al.
2016) fits a linear model to the probabilities of the text with words left out, by its authors'
library.
"""

import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfscale.analysis.attribution import Attribution, embedded_as, integrated_gradients, token_parts
from tfscale.config.tasks import ExplainConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.network import LanguageNetwork
from tfscale.tasks.examples import Example
from tfscale.tasks.predictor import TaskPredictor
from tfscale.text.tokenizers import Tokenizer
from tfscale.text.tokenizers.segmenting import jieba_words


def explain_label(model: TaskPredictor, config: ExplainConfig) -> JsonObject:
    """Explains why a classifier gives a label to a text.

    Args:
        model: a classifier of `finetune`; for lime its exported file, too.
        config: the text, the method and the label.

    Returns:
        `method`; `label`; its `probability`; `parts`: `text` and `weight` of each token or word in
        order, which joined are the text as the tokenizer decodes it. Of integrated gradients the
        weights are nats of the log-odds; `above_baseline` is their sum as it should be and
        `completeness_error` how far it is off; `unread_tokens` did not fit into the window and
        weigh 0. Of lime they are in units of probability, and `fit` is the R2 of the linear model.

    Raises:
        ConfigError: another task, or a method or label that does not fit.

    Example:
        explain_label(load_task("task"), ExplainConfig(text="a fine film"))["parts"]
    """
    if not model.task.explains:
        raise ConfigError(
            f"explain takes classifiers and language models; the task here is {model.task.name}"
        )
    return _lime(model, config) if config.method == "lime" else _label_gradients(model, config)


def _label_gradients(model: TaskPredictor, config: ExplainConfig) -> JsonObject:
    task, network = model.task, model.network
    if network is None:
        raise ConfigError(
            "integrated gradients need the folder of tfscale finetune; lime explains its"
            " export, too"
        )
    chances, label = _chances(model, config)
    number = task.labels.index(label)
    tokens = task.tokenizer.encode(task.tokenizer.cleaner(config.text))
    ids = task.encode(Example("the text", config.text)).ids
    # The first and the last place of the window are end tokens.
    read = min(len(tokens), len(ids) - 2)
    moved = np.arange(len(ids)) - 1
    embedding = network.base.token_embedding

    def log_odds(vectors: tf.Tensor) -> tf.Tensor:
        rows = tf.tile(tf.constant(ids)[None], [tf.shape(vectors)[0], 1])
        with embedded_as(embedding, vectors):
            logits = tf.cast(network(rows, training=False), tf.float32)
        if task.several:
            return logits[:, number, 1] - logits[:, number, 0]
        others = tf.concat([logits[:, 0, :number], logits[:, 0, number + 1 :]], axis=-1)
        return logits[:, 0, number] - tf.reduce_logsumexp(others, axis=-1)

    attribution = integrated_gradients(
        log_odds, embedding(ids), (moved >= 0) & (moved < read), config.steps
    )
    weights = np.concatenate([attribution.weights[1 : read + 1], np.zeros(len(tokens) - read)])
    result = {"method": config.method, "label": label, "probability": chances[label]}
    return result | _described(
        model.task.tokenizer, tokens, weights, attribution, len(tokens) - read
    )


def explain_last_token(
    network: LanguageNetwork, tokenizer: Tokenizer, config: ExplainConfig
) -> JsonObject:
    """Explains why a language model predicts the last token of a text.

    Args:
        network: the model.
        tokenizer: its tokenizer.
        config: the text.

    Returns:
        As `explain_label` of integrated gradients, in nats of the log-probability, with
        `target_token` instead of `label` and the parts of the text before it.

    Raises:
        ConfigError: options for classifiers, or a text of one token.

    Example:
        explain_last_token(run.network, run.tokenizer, ExplainConfig(text="a fine film"))["parts"]
    """
    if config.method == "lime":
        raise ConfigError(
            "lime explains classifiers; a language model takes --method integrated_gradients"
        )
    if config.label:
        raise ConfigError(
            f"label={config.label!r} is for classifiers; of a language model the last token is"
            " explained"
        )
    *tokens, target = tokenizer.encode(tokenizer.cleaner(config.text))
    if not tokens:
        raise ConfigError(
            "the text is one token; give one that has others before the last, which they explain"
        )
    # A network that guesses hidden tokens reads a mask instead of the target; others predict it at
    # the last token.
    masking = network.config.masking
    hidden = [masking.mask_id] if masking else []
    ids = np.array(
        [tokenizer.start_id, *tokens, *hidden][-network.config.sequence_length :], np.int32
    )
    # The start token before the text stays, and so does the mask.
    places = np.arange(len(ids)) + len(hidden)
    moved = (places >= len(ids) - len(tokens)) & (places < len(ids))
    embedding = network.token_embedding

    def log_probability(vectors: tf.Tensor) -> tf.Tensor:
        rows = tf.tile(tf.constant(ids)[None], [tf.shape(vectors)[0], 1])
        with embedded_as(embedding, vectors):
            logits = network.project(network.hidden_states(rows, training=False)[:, -1:])
        return tf.nn.log_softmax(tf.cast(logits, tf.float32)[:, 0])[:, target]

    attribution = integrated_gradients(log_probability, embedding(ids), moved, config.steps)
    read = int(moved.sum())
    weights = np.concatenate([np.zeros(len(tokens) - read), attribution.weights[moved]])
    shown = tokenizer.token_bytes(target, tokens[-1]).decode("utf-8", "replace")
    result = {
        "method": config.method,
        "target_token": shown,
        "probability": float(np.exp(attribution.value)),
    }
    return result | _described(tokenizer, tokens, weights, attribution, len(tokens) - read)


def _described(
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    weights: np.ndarray,
    attribution: Attribution,
    unread: int,
) -> JsonObject:
    return {
        "parts": token_parts(tokenizer, tokens, weights.tolist()),
        "above_baseline": attribution.value - attribution.start,
        "completeness_error": attribution.error,
        "unread_tokens": unread,
    }


def _chances(model: TaskPredictor, config: ExplainConfig) -> tuple[dict[str, float], str]:
    """Returns the probabilities of the labels, and the one to explain."""
    labels = model.task.labels
    if config.label and config.label not in labels:
        raise ConfigError(f"label {config.label!r} is none of the model's: {', '.join(labels)}")
    [prediction] = model.predict([Example("the text", config.text)])
    chances = prediction["probabilities"]
    return chances, config.label or max(chances, key=lambda label: chances[label])


def _lime(model: TaskPredictor, config: ExplainConfig) -> JsonObject:
    try:
        from lime.lime_text import LimeTextExplainer
    except ImportError as error:
        raise ConfigError("lime is not installed: pip install 'tfscale[tasks]'") from error
    labels = model.task.labels
    chances, label = _chances(model, config)
    if not re.search(r"\w", config.text):
        raise ConfigError(
            "lime leaves out words, and the text has none; --method integrated_gradients explains"
            " tokens"
        )

    def probabilities(texts: Sequence[str]) -> np.ndarray:
        predictions = model.predict([Example("the text", text) for text in texts])
        return np.array(
            [[prediction["probabilities"][label] for label in labels] for prediction in predictions]
        )

    # A weight for each position, because the networks read the order; nothing stands where a word
    # was left out.
    explainer = LimeTextExplainer(
        class_names=labels,
        feature_selection="none",
        bow=False,
        mask_string="",
        random_state=config.seed,
        split_expression=(_jieba_split if model.task.tokenizer.segmenter == "jieba" else r"\W+"),
    )
    number = labels.index(label)
    explanation = explainer.explain_instance(
        config.text, probabilities, (number,), num_samples=config.samples
    )
    words = explanation.domain_mapper.indexed_string
    weights = {
        int(words.positions[word]): float(weight) for word, weight in explanation.local_exp[number]
    }
    return {
        "method": config.method,
        "label": label,
        "probability": chances[label],
        "parts": _word_parts(words.as_list, weights),
        "fit": float(explanation.score),
    }


def _jieba_split(text: str) -> list[str]:
    return [word for word in jieba_words()(text) if re.search(r"\w", word)]


def _word_parts(pieces: Sequence[str], weights: dict[int, float]) -> list[JsonObject]:
    """Words with what stands before them; what follows the last word goes with it."""
    parts: list[JsonObject] = []
    before = ""
    for position, piece in enumerate(pieces):
        before += piece
        if position in weights:
            parts.append({"text": before, "weight": weights[position]})
            before = ""
    parts[-1]["text"] += before
    return parts
