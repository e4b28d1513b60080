"""Recipes of quantization that exist elsewhere and that tfscale does not write, with what each was
seen to do.

Measured with TensorFlow 2.21, litert-quantizer 0.11 and ai-edge-litert 2.3 on a Transformer of 4 x
256 and an LSTM of 256 units with 8,192 tokens each.
"""

from tfscale.errors import ConfigError

REFUSED = {
    "int8_sparse": (
        "int8 with EXPERIMENTAL_SPARSITY either fails in XNNPACK or, with 1 x 16 blocks, gives"
        " wrong logits without an error; prune, export with int8 and let the download be compressed"
    ),
    "int8_full": (
        "8-bit activations: the additive attention mask takes their whole range (perplexity 89 ->"
        " 560), and with a smaller mask the file is larger than int8's, because its signatures stop"
        " sharing weights; take int8"
    ),
    "int16x8": (
        "16-bit activations: the converter refuses integer inputs such as positions, and an LSTM of"
        " it runs at a fifth of float's speed; take int8"
    ),
    "int4_weight_only": (
        "weights are unpacked to float for every token: half of float's speed; take int4"
    ),
    "int4_channelwise": (
        "one scale for a whole row costs more perplexity than blocks, for 3 % less size; take int4"
    ),
    "int4_hadamard": (
        "rotated weights: larger and slower than int4, at a higher perplexity; take int4"
    ),
    "q8_0": "it is llama.cpp's name of what --quantize int8 writes with --format gguf; take int8",
    "int2": "perplexity 89 -> 140; take int4_all",
    "int8_static": (
        "inputs and outputs of the signatures become int8 too, and the perplexity is above that of"
        " int8; take int8"
    ),
}
"""Name -> what it does, and what to take."""


def explain_refusal(name: str) -> None:
    """Raises a ConfigError that says why, if `name` is a refused recipe."""
    if name in REFUSED:
        raise ConfigError(f"quantize={name} is not offered: {REFUSED[name]}")
