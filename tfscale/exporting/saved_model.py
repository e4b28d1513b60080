"""A SavedModel with serving signatures, which a TensorFlow without tfscale or Keras loads and runs.

Shapes: B rows, T tokens, V vocabulary, S tokens of a cached call, C context.
"""

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfscale.exporting.comparison import GREEDY_TOKENS
from tfscale.exporting.converter import silence
from tfscale.exporting.limits import Limits, limits_of
from tfscale.exporting.parity import float32_copy
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.tflite import DecodingNetwork, signatures
from tfscale.exporting.windows import Windows
from tfscale.inference.generation import causal_mask
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models.capability import capabilities
from tfscale.text.score import Score, token_nll

Signature = Callable[..., Mapping[str, tf.Tensor]]


def write_saved_model(
    network: DecodingNetwork, prefill_lengths: Sequence[int], directory: str
) -> None:
    """Writes the SavedModel of a network.

    Its signatures are `score` (tokens (B, T) int32 -> logits (B, T, V) and nll (B, T - 1), the
    negative log-likelihood in nats of each token but the first, given those before it; also the
    default signature), and those of the .tflite file: `decode` and `prefill_S`.

    Args:
        network: a network of `tfscale.models`, exported in float32.
        prefill_lengths: tokens per call of the prompt signatures.
        directory: the folder to write.
    """
    network = float32_copy(network)
    module = tf.Module()
    module.weights = [weight.value for weight in network.weights]
    functions = dict(signatures(network, prefill_lengths))

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32, name="tokens")])
    def score(tokens):
        logits = network(tokens, training=False)
        nll = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tokens[:, 1:], logits=logits[:, :-1]
        )
        return {"logits": logits, "nll": nll}

    functions["score"] = functions["serving_default"] = score.get_concrete_function()
    with silence():
        tf.saved_model.save(module, directory, signatures=functions)


def compare_saved_model(
    checks: Checks,
    network: DecodingNetwork,
    directory: str,
    held_out: Sequence[int],
    end_id: int,
    start_id: int | None = None,
    document_mask: bool = False,
) -> Report:
    """Compares a SavedModel, loaded anew, with the network it was made from.

    Args:
        checks: receives the compared values.
        network: the trained network.
        directory: the SavedModel.
        held_out: ids of held-out text.
        end_id: the end token.
        start_id: the token before a text; None for the end token.
        document_mask: each document is compared by itself, as it is scored.

    Returns:
        `perplexity` of `keras` and `file` and `sizes` as for a .tflite file; `signatures`, with the
        names of their inputs.
    """
    reference, limits = float32_copy(network), limits_of(network, "none")
    windows = Windows(reference, np.asarray(held_out, np.int32), end_id, start_id, document_mask)
    signatures = tf.saved_model.load(directory).signatures
    perplexity = _compare_score(checks, windows, signatures["score"], limits)
    _compare_decode(checks, windows, signatures["decode"], limits)
    for name in signatures:
        if name.startswith("prefill_"):
            _compare_prefill(checks, windows, signatures, name, limits)
    size = sum(
        os.path.getsize(os.path.join(root, name))
        for root, _, names in os.walk(directory)
        for name in names
    )
    return {
        "perplexity": {"keras": windows.score.perplexity, "file": perplexity},
        "sizes": {"file_bytes": size},
        "signatures": {
            name: sorted(signature.structured_input_signature[1])
            for name, signature in signatures.items()
        },
    }


def _compare_score(checks: Checks, windows: Windows, score: Signature, limits: Limits) -> float:
    """Compares whole windows; returns the perplexity of the SavedModel."""
    largest, same, nll = 0.0, 0, 0.0
    for ids, targets, reading in zip(
        windows.inputs, windows.targets, windows.readings, strict=True
    ):
        logits = score(tokens=tf.constant(ids[None]))["logits"].numpy()[0]
        expected = reading.logits(0, len(ids))
        largest = max(largest, float(np.abs(logits - expected).max()))
        same += int((logits.argmax(-1) == expected.argmax(-1)).sum())
        nll += float(token_nll(logits, targets).sum())
    tokens = windows.score.tokens
    perplexity = Score(nll, tokens).perplexity
    checks.add("max_logit_difference (score)", largest, "<=", limits.max_logit_difference)
    checks.add("top1_agreement (score)", same / tokens, ">=", limits.top1_agreement)
    change = abs(perplexity / windows.score.perplexity - 1)
    checks.add("perplexity_change (score)", change, "<=", limits.perplexity_change)
    return perplexity


def _compare_decode(checks: Checks, windows: Windows, decode: Signature, limits: Limits) -> None:
    """Compares the first tokens, read one by one."""
    network = windows.reference
    ids = windows.inputs[0][: max(2, min(GREEDY_TOKENS, len(windows.inputs[0])))]
    decoder = KerasDecoder(network, prefill_lengths=[])
    cache = {name: tf.zeros(shape) for name, shape in network.cache_spec().items()}
    differences = []
    for position, token in enumerate(ids.tolist()):
        cache = dict(decode(tokens=tf.constant([[token]]), **_place(network, position), **cache))
        logits = cache.pop("logits").numpy().reshape(-1)
        differences.append(float(np.abs(logits - decoder.feed([token])).max()))
    checks.add("max_logit_difference (decode)", max(differences), "<=", limits.max_logit_difference)


def _compare_prefill(
    checks: Checks, windows: Windows, signatures: Mapping[str, Signature], name: str, limits: Limits
) -> None:
    """Compares the token after a prompt that one call read."""
    network = windows.reference
    length = int(name.removeprefix("prefill_"))
    if length >= network.config.sequence_length:
        return  # No token comes after a call that fills the context, by which to tell.
    prompt, reading = windows.longest_prompt(length + 1)
    cache = {key: tf.zeros(shape) for key, shape in network.cache_spec().items()}
    tokens = tf.constant([prompt[:length]])
    read = signatures[name](tokens=tokens, **_place(network, 0, length), **cache)
    after = signatures["decode"](
        tokens=tf.constant([[prompt[length]]]), **_place(network, length), **read
    )
    expected = reading.logits(length, length + 1)[0]
    difference = float(np.abs(after["logits"].numpy().reshape(-1) - expected).max())
    checks.add(f"max_logit_difference ({name})", difference, "<=", limits.max_logit_difference)


def _place(network: DecodingNetwork, position: int, length: int = 1) -> dict[str, tf.Tensor]:
    if capabilities(network).decodes != "cache":
        return {}
    mask = causal_mask(position, length, network.config.sequence_length)
    return {"input_pos": tf.range(position, position + length), "mask": tf.constant(mask)}
