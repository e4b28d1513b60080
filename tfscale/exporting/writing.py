"""A network that writes a text for a text as a .tflite file that reads a source once and decodes
with caches.

Shapes: S tokens of the source part, U of the target part, G key-value heads, K width of a head, V
vocabulary.
"""

import keras
import tensorflow as tf

from tfscale.config import Quantization
from tfscale.exporting.tflite import convert, export_tflite
from tfscale.models.cached import tracing_for_tflite


def writing_file(network: keras.Model, source_length: int, quantize: Quantization) -> bytes:
    """Converts a `PrefixLM` or an `EncoderDecoder`.

    A prefix LM's file is that of its language model, with one prompt signature; the mask that the
    caller gives is what lets a source see itself in both directions. An encoder-decoder's has
    `encode`: tokens (1, S) int32 -> source_mask (1, 1, 1, S) and memory (1, S, G, K) float32; and
    `decode`: tokens (1, 1), input_pos (1,) int32, mask (1, 1, 1, U), source_mask, memory and caches
    (1, U, G, K) float32 -> logits (1, 1, V) and caches.

    Args:
        network: its weights are exported as float32 before `quantize`.
        source_length: S.
        quantize: "none", "float16" or "int8".

    Returns:
        The file's bytes.

    Raises:
        ExportError: TFLite has no built-in operation for a part of the network, or the file lacks
            weights.
    """
    if network.language_model is not None:
        return export_tflite(network.language_model, quantize, [source_length])
    spec = {"tokens": tf.TensorSpec((1, source_length), tf.int32, name="tokens")}
    with tracing_for_tflite():
        encode = tf.function(network.encode_cached).get_concrete_function(**spec)
    memory = {
        name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in _shapes(encode).items()
    }
    cache = {
        name: tf.TensorSpec(shape, tf.float32, name=name)
        for name, shape in network.cache_spec().items()
    }

    def step(tokens, input_pos, mask, **others):
        read = {name: others[name] for name in memory}
        state = {name: others[name] for name in cache}
        logits, state = network.cached_step(tokens, state, read, input_pos=input_pos, mask=mask)
        return {**state, "logits": logits}

    spec = {
        "tokens": tf.TensorSpec((1, 1), tf.int32, name="tokens"),
        "input_pos": tf.TensorSpec((1,), tf.int32, name="input_pos"),
        "mask": tf.TensorSpec((1, 1, 1, network.target_length), tf.float32, name="mask"),
    }
    with tracing_for_tflite():
        decode = tf.function(step).get_concrete_function(**spec, **memory, **cache)
    return convert(network, {"decode": decode, "encode": encode}, quantize)


def _shapes(function) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in function.structured_outputs.items()}
