"""Networks that write a text for a text: who sees what, independent references, the cached steps, the warm start."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.gpt2 import gpt2
from tests.models import numpy_reference
from tfscale.config import LSTMConfig
from tfscale.errors import ConfigError
from tfscale.models import build_network
from tfscale.models.encoder_decoder import EncoderDecoder
from tfscale.models.prefix import PrefixLM, up_to_end

END, SOURCE, TARGET = 0, 6, 5
GPT = gpt2(
    vocabulary_size=29,
    sequence_length=12,
    hidden_dim=16,
    num_layers=2,
    num_heads=4,
    feed_forward_dim=24,
    use_bias=True,
    tie_embeddings=False,
)
LLAMA = gpt2(
    vocabulary_size=29,
    sequence_length=12,
    hidden_dim=16,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=6,
    feed_forward_dim=10,
    positions="rope",
    normalization="rms",
    activation="swiglu",
    embedding_rank=5,
    dropout=0.1,
)
GEMMA = dataclasses.replace(
    LLAMA, activation="geglu", scale_embeddings=True, norm_epsilon=1e-3, embedding_rank=0
)
MODERN = dataclasses.replace(
    LLAMA,
    query_key_norm=True,
    activation="relu_squared",
    embedding_skip=True,
    attention_soft_cap=0.7,
    logit_soft_cap=2.0,
)
LAYERS = dataclasses.replace(
    GEMMA,
    num_layers=3,
    sandwich_norm=True,
    query_scale_dim=5,
    query_key_value_bias=True,
    no_rope_every=2,
    rope_scaling="linear",
    rope_factor=4.0,
)
CONFIGS = {"gpt": GPT, "llama": LLAMA, "gemma": GEMMA, "modern": MODERN, "layers": LAYERS}


def made(architecture, name):
    """A network with all weights drawn anew."""
    config = CONFIGS[name]
    if architecture == "prefix":
        network = PrefixLM(build_network(config), end_id=END)
    else:
        network = EncoderDecoder(config, source_length=SOURCE, target_length=TARGET, end_id=END)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    return network


def row(architecture, source, target):
    """The ids of a source and of a target, and the place of the end token between them."""
    ids = np.full(SOURCE + TARGET, END, np.int32)
    ids[1 : 1 + len(source)] = source
    start = 1 + len(source) if architecture == "prefix" else SOURCE
    ids[start + 1 : start + 1 + len(target)] = target
    return ids, start


def logits(network, architecture, *pairs):
    """Logits of the target part of each pair, from its end token on."""
    ids, starts = zip(*(row(architecture, *pair) for pair in pairs), strict=True)
    firsts = starts if architecture == "prefix" else [0] * len(pairs)
    found = network(np.stack(ids)).numpy()
    return [
        one[first : first + len(target) + 1]
        for one, first, (_, target) in zip(found, firsts, pairs, strict=True)
    ]


BOTH = pytest.mark.parametrize("architecture", ["prefix", "encoder_decoder"])
NAMES = pytest.mark.parametrize("name", CONFIGS)


@BOTH
@NAMES
def test_who_sees_what(architecture, name):
    network = made(architecture, name)
    source, target = [5, 9, 3], [7, 8, 2, 4]
    targets = [[*target[:place], 11, *target[place + 1 :]] for place in range(4)]
    sources = [[*source[:place], 11, *source[place + 1 :]] for place in range(3)]
    begun = [target[:length] for length in range(4)]
    pairs = [
        (source, target),
        *((source, other) for other in targets),
        *((other, target) for other in sources),
    ]
    whole, *found = logits(network, architecture, *pairs, *((source, part) for part in begun))
    assert whole.shape == (5, 29)
    for place in range(4):
        changed = np.abs(found[place] - whole).max(-1)
        # The token at `place` is read at `place` + 1.
        assert changed[: place + 1].max() == 0 and changed[place + 1 :].min() > 1e-4
    for other in found[4:7]:
        assert np.abs(other - whole).max(-1).min() > 1e-4
    # What fills the row up says nothing.
    for length, part in enumerate(found[7:]):
        np.testing.assert_allclose(part, whole[: length + 1], atol=1e-6)


def test_a_source_sees_itself_in_both_directions():
    """The state of the first token of a source depends on its last: what causal attention cannot do."""
    prefix, other = made("prefix", "gpt"), made("encoder_decoder", "gpt")
    ids, changed = (row("prefix", source, [7])[0][None] for source in ([5, 9, 3], [5, 9, 4]))
    first = [prefix.hidden_states(x).numpy()[0, 0] for x in (ids, changed)]
    assert np.abs(first[0] - first[1]).max() > 1e-3
    assert (
        np.abs(
            (prefix.base.hidden_states(ids) - prefix.base.hidden_states(changed)).numpy()[0, 0]
        ).max()
        == 0
    )
    first = [other.encode(x[:, :SOURCE])[0].numpy()[0, 0] for x in (ids, changed)]
    assert np.abs(first[0] - first[1]).max() > 1e-3


def test_what_stands_after_a_source_is_not_seen():
    network = made("encoder_decoder", "gpt")
    ids = row("encoder_decoder", [5, 9, 3], [7, 8])[0][None]
    assert up_to_end(ids, END).numpy()[0].tolist() == [1, 1, 1, 1, 1] + [0] * 6
    other = ids.copy()
    other[0, 5] = 13
    np.testing.assert_array_equal(network(other).numpy(), network(ids).numpy())
    other[0, 4] = 13
    assert np.abs(network(other).numpy() - network(ids).numpy()).max() > 1e-3


def block_weights(start, block):
    attention = block.attention
    dense = {
        "qkv": attention.query_key_value,
        "out": attention.output_projection,
        "expand": block.expand,
        "contract": block.contract,
    }
    norms = {"norm1": block.attention_norm, "norm2": block.feed_forward_norm}
    if hasattr(block, "cross_attention"):
        cross = block.cross_attention
        dense |= {
            "cross_q": cross.query,
            "cross_kv": cross.key_value,
            "cross_out": cross.output_projection,
        }
        norms["norm3"] = block.cross_norm
    found = {f"{start}{name}": layer.kernel for name, layer in dense.items()}
    found |= {f"{start}{name}_bias": layer.bias for name, layer in dense.items()}
    found |= {f"{start}{name}": layer.gamma for name, layer in norms.items()}
    return found | {f"{start}{name}_shift": layer.beta for name, layer in norms.items()}


def stack_weights(kind, blocks, norm, positions):
    found = {
        f"{kind}.norm": norm.gamma,
        f"{kind}.norm_shift": norm.beta,
        f"{kind}.positions": positions.embeddings,
    }
    for i, block in enumerate(blocks):
        found |= block_weights(f"{kind}.{i}.", block)
    return found


def in_float64(weights):
    return {name: np.asarray(value, np.float64) for name, value in weights.items()}


def test_encoder_decoder_equals_numpy_reference():
    network = made("encoder_decoder", "gpt")
    embedding = network.token_embedding
    w = {"tokens": embedding.embeddings, "softmax": embedding.reverse_embeddings}
    w |= stack_weights(
        "encoder", network.encoder_blocks, network.encoder_norm, network.positions[0]
    )
    w |= stack_weights(
        "decoder", network.decoder_blocks, network.decoder_norm, network.positions[1]
    )
    for source, target in (([5, 9, 3], [7, 8, 2]), ([4, 4, 1, 6], [28])):
        expected = numpy_reference.encoder_decoder(
            in_float64(w), [END, *source, END], [END, *target], 2, 4
        )
        [found] = logits(network, "encoder_decoder", (source, target))
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_prefix_lm_equals_numpy_reference():
    network = made("prefix", "gpt")
    base = network.base
    w = {"tokens": base.token_embedding.embeddings}
    w = in_float64(w | stack_weights("both", base.blocks, base.final_norm, base.position_embedding))
    ids = [END, 5, 9, 3, END, 7, 8, 2]
    hidden = numpy_reference.stack(w, ids, "both", 2, 4, lambda t: list(range(max(5, t + 1))))
    expected = (hidden @ np.asarray(base.token_embedding.reverse_embeddings, np.float64))[4:]
    [found] = logits(network, "prefix", ([5, 9, 3], [7, 8, 2]))
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@BOTH
@NAMES
def test_tokens_read_one_by_one_by_a_batch_give_the_logits_of_the_whole_rows(architecture, name):
    network = made(architecture, name)
    pairs = [([5, 9, 3], [7, 8, 2, 4]), ([4], [28, 1, 1, 3]), ([6, 6, 2, 8], [2, 9, 5, 7])]
    ids, starts = zip(*(row(architecture, *pair) for pair in pairs), strict=True)
    state = network.begin(tf.constant(np.stack(ids)), tf.constant(starts), SOURCE)
    found = []
    for turn in range(TARGET):
        tokens = np.array(
            [one[start + turn] for one, start in zip(ids, starts, strict=True)], np.int32
        )
        step, state = network.step(tf.constant(tokens), state, tf.constant(turn), SOURCE)
        found.append(step.numpy())
    expected = np.stack(logits(network, architecture, *pairs))
    np.testing.assert_allclose(np.stack(found, 1), expected, atol=2e-5, rtol=1e-5)


@NAMES
def test_both_stacks_start_from_the_language_model(name):
    base = made("prefix", name).base
    network = EncoderDecoder(CONFIGS[name], source_length=SOURCE, target_length=TARGET, end_id=END)
    network.start_from(base)
    ids, _ = row("encoder_decoder", [5, 9, 3, 2], [7, 8, 2, 4])
    # Without what it reads of the source, the decoder is the language model.
    for block in network.decoder_blocks:
        block.cross_attention.output_projection.kernel.assign(
            tf.zeros_like(block.cross_attention.output_projection.kernel)
        )
    np.testing.assert_allclose(
        network(ids[None]).numpy(), base(ids[None, SOURCE:]).numpy(), atol=1e-6
    )
    everyone = tf.ones((1, 1, SOURCE), tf.bool)
    states = base.hidden_states(ids[None, :SOURCE], visible=everyone)
    memory = network.encode(ids[None, :SOURCE])[0]
    memory = memory if network.narrow is None else network.narrow(memory)
    np.testing.assert_allclose(memory.numpy(), states.numpy(), atol=1e-6)


def test_a_mask_of_the_past_is_causal_attention():
    for config in (GPT, LLAMA):
        base = build_network(config)
        ids = np.random.default_rng(1).integers(0, 29, (2, 12)).astype("int32")
        past = np.tril(np.ones((1, 12, 12), bool))
        np.testing.assert_array_equal(
            base.hidden_states(ids, visible=past).numpy(), base.hidden_states(ids).numpy()
        )


@BOTH
def test_a_saved_model_comes_back_equal(architecture, tmp_path):
    network = made(architecture, "llama")
    network.save(tmp_path / "model.keras")
    ids = row(architecture, [5, 9, 3], [7, 8])[0][None]
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(again(ids).numpy(), network(ids).numpy())


def test_what_cannot_read_a_source():
    with pytest.raises(
        ConfigError, match="needs a run of --model.family transformer; a LSTMLM cannot attend"
    ):
        PrefixLM(
            build_network(LSTMConfig(vocabulary_size=9, embedding_dim=4, hidden_dim=4)), end_id=END
        )
    windowed = build_network(dataclasses.replace(GPT, attention_window=3))
    with pytest.raises(ConfigError, match="attention_window=3 hides the source"):
        PrefixLM(windowed, end_id=END)
    with pytest.raises(ConfigError, match="attention_window=3 hides the source"):
        made("encoder_decoder", "gpt").start_from(windowed)
