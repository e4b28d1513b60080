"""The decoder's way of leaving the cache in the runtime's buffers against plain signature calls."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfscale.device.decoder import LiteRTDecoder

CONTEXT = 19


class PlainCalls:
    """Every tensor goes in and comes out of each call; nothing is kept in the interpreter."""

    def __init__(self, path: str, xnnpack: bool):
        resolver = (
            OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        self.interpreter = Interpreter(model_path=path, experimental_op_resolver_type=resolver)
        self.signatures = {
            name: self.interpreter.get_signature_runner(name) for name in ("decode", "prefill_8")
        }
        details = self.signatures["decode"].get_input_details()
        self.cache = {
            n: np.zeros(d["shape"], np.float32)
            for n, d in details.items()
            if n.startswith("kv_cache")
        }

    def __call__(self, name: str, tokens: list[int], position: int) -> np.ndarray | None:
        length = len(tokens)
        mask = np.full((1, 1, length, CONTEXT), -1e4, np.float32)
        for row in range(length):
            mask[0, 0, row, : position + row + 1] = 0
        result = self.signatures[name](
            tokens=np.array([tokens], np.int32),
            input_pos=np.arange(position, position + length, dtype=np.int32),
            mask=mask,
            **self.cache,
        )
        logits = result.pop("logits", None)
        self.cache = result
        return None if logits is None else logits.reshape(-1)


@pytest.mark.parametrize("xnnpack", [True, False])
def test_same_logits_as_plain_calls(quantized, xnnpack):
    ids = np.random.default_rng(0).integers(0, 257, CONTEXT).tolist()
    plain = PlainCalls(quantized.file, xnnpack)
    plain("prefill_8", ids[:8], 0)
    expected = [
        plain("decode", [token], position) for position, token in enumerate(ids[8:], start=8)
    ]
    decoder = LiteRTDecoder(quantized.file, xnnpack=xnnpack)
    for _ in range(2):
        actual = [decoder.feed(ids[:9]), *(decoder.feed([token]) for token in ids[9:])]
        np.testing.assert_array_equal(actual, expected)
        decoder.reset()


def test_pads_of_a_prefill_call_leave_no_trace(quantized):
    # 6 tokens in a call of 8: two pads are written behind them, which the tokens that follow must not see.
    ids = np.random.default_rng(1).integers(0, 257, 12).tolist()
    plain = PlainCalls(quantized.file, xnnpack=True)
    plain("prefill_8", [*ids[:6], 0, 0], 0)
    expected = [
        plain("decode", [token], position) for position, token in enumerate(ids[6:], start=6)
    ]
    decoder = LiteRTDecoder(quantized.file)
    np.testing.assert_array_equal(
        [decoder.feed(ids[:7]), *(decoder.feed([token]) for token in ids[7:])], expected
    )
    one_by_one = LiteRTDecoder(quantized.file)
    alone = [one_by_one.feed([token]) for token in ids][6:]
    # Calls of different lengths sum in another order; int8 rounds activations, so that a step's rounding differs.
    np.testing.assert_allclose(alone, expected, atol=0.1 if quantized.quantize == "int8" else 1e-4)


def test_description_of_the_file(quantized):
    decoder = LiteRTDecoder(quantized.file)
    assert (decoder.context_length, decoder.vocabulary_size, decoder.prefill_lengths) == (
        CONTEXT,
        257,
        [4, 8],
    )
    assert decoder.cache_shapes == {
        f"kv_cache_{kind}_{i}": (1, CONTEXT, 2, 8) for kind in "kv" for i in range(2)
    }
