"""The plan's figures: against real models, against XLA's own memory assignment, and by hand."""

import dataclasses
import json
import subprocess
import sys

import pytest

from tests.gpt2 import gpt2
from tfscale import models
from tfscale.commands import plan as command
from tfscale.config import (
    BERTConfig,
    BiLSTMConfig,
    GRUConfig,
    LSTMConfig,
    NNLMConfig,
    RNNConfig,
    TrainConfig,
)
from tfscale.errors import ConfigError
from tfscale.planning.chips import CHIPS, Chip
from tfscale.planning.plan import memory_of, plan

TRANSFORMER = gpt2(
    vocabulary_size=1000, sequence_length=128, hidden_dim=128, num_layers=4, num_heads=4
)
LSTM = LSTMConfig(vocabulary_size=1000, sequence_length=64, embedding_dim=128, hidden_dim=256)
LLAMA = gpt2(
    vocabulary_size=1000,
    sequence_length=128,
    hidden_dim=128,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    feed_forward_dim=300,
    positions="rope",
    normalization="rms",
    activation="swiglu",
    attention_window=32,
    global_tokens=4,
)
MODERN = dataclasses.replace(
    LLAMA,
    attention_window=0,
    global_tokens=0,
    query_key_norm=True,
    activation="relu_squared",
    embedding_skip=True,
)
CAPPED = dataclasses.replace(
    LLAMA,
    attention_window=0,
    global_tokens=0,
    attention_soft_cap=50.0,
    logit_soft_cap=30.0,
    num_layers=4,
)
GEMMA_3 = dataclasses.replace(
    LLAMA,
    num_layers=4,
    global_every=4,
    global_tokens=0,
    query_key_norm=True,
    query_key_value_bias=True,
    sandwich_norm=True,
)
GRU = GRUConfig(
    vocabulary_size=1000, sequence_length=64, embedding_dim=128, hidden_dim=256, num_layers=2
)
RNN = RNNConfig(
    vocabulary_size=1000, sequence_length=64, embedding_dim=128, hidden_dim=256, tie_embeddings=True
)
NNLM = NNLMConfig(
    vocabulary_size=1000, sequence_length=64, context_tokens=4, embedding_dim=64, hidden_dim=256
)
BERT = BERTConfig(
    vocabulary_size=1000, sequence_length=128, hidden_dim=128, num_layers=2, num_heads=4
)
BILSTM = BiLSTMConfig(vocabulary_size=1000, sequence_length=64, embedding_dim=128, hidden_dim=256)
TRAIN = TrainConfig(optimizer="adamw", global_batch_size=16)
SLOW = Chip("slow", 1e12, 1e12, 1e9, 1e10, 8, 1e9, 1e8, 0.5, "made up")


@pytest.mark.parametrize(
    "config",
    [
        TRANSFORMER,
        dataclasses.replace(
            TRANSFORMER, use_bias=True, tie_embeddings=False, feed_forward_dim=300, num_layers=1
        ),
        LSTM,
        dataclasses.replace(LSTM, tie_embeddings=True, num_layers=3),
        dataclasses.replace(LSTM, tie_embeddings=True, embedding_dim=256),
        BERT,
        LLAMA,
        dataclasses.replace(LLAMA, use_bias=True, feed_forward_rank=8, embedding_rank=16),
        MODERN,
        GEMMA_3,
        dataclasses.replace(MODERN, num_layers=1, head_dim=20, tie_embeddings=False),
        dataclasses.replace(LLAMA, normalization="layer", use_bias=True, activation="gelu"),
        GRU,
        RNN,
        NNLM,
        dataclasses.replace(NNLM, direct_connections=True),
        BILSTM,
        dataclasses.replace(BILSTM, tie_embeddings=False, num_layers=2),
    ],
)
def test_parameters_are_those_of_the_real_model(config):
    small = dataclasses.replace(config, vocabulary_size=50)
    parameters = small.costs().parameters
    assert parameters == models.parameter_count(small) == models.build_network(small).count_params()


def test_forward_operations_by_hand():
    # Per token: 4 blocks of 12 D^2 weights and two products of T x D for attention; the head of D x V; 2 FLOPs each.
    assert TRANSFORMER.costs().forward_flops == 2 * (4 * (12 * 128**2 + 2 * 128 * 128) + 128 * 1000)
    assert LSTM.costs().forward_flops == 2 * (4 * 256 * (128 + 256) + 256 * 1000)
    two = dataclasses.replace(LSTM, num_layers=2, tie_embeddings=True)
    assert two.costs().forward_flops == 2 * (
        4 * 256 * (128 + 256 + 256 + 256) + 256 * 128 + 128 * 1000
    )
    # Query, key and value of 128 + 2 x 64, gate, value and output of 300; each query meets two windows of 32 keys and
    # 4 that all meet.
    block = 128 * (128 + 128) + 128 * 128 + 3 * 128 * 300 + 2 * 68 * 128
    assert LLAMA.costs().forward_flops == 2 * (2 * block + 128 * 1000)
    # Three layers that meet 2 x 32 keys, and one that meets all 128.
    block = 128 * (128 + 128) + 128 * 128 + 3 * 128 * 300
    keys = 3 * 64 + 128
    assert GEMMA_3.costs().forward_flops == 2 * (4 * block + 2 * keys * 128 + 128 * 1000)
    assert GEMMA_3.costs().block_float32 == 4 * keys / 4
    assert GEMMA_3.costs().largest_float32 == 4 * 128
    assert GRU.costs().forward_flops == 2 * (3 * 256 * (128 + 256 + 256 + 256) + 256 * 1000)
    assert RNN.costs().forward_flops == 2 * (256 * (128 + 256) + 256 * 128 + 128 * 1000)
    assert NNLM.costs().forward_flops == 2 * (4 * 64 * 256 + 256 * 1000)
    assert BILSTM.costs().forward_flops == 2 * (2 * 4 * 256 * (128 + 256) + 512 * 128 + 128 * 1000)


def slow(config, train=TRAIN):
    """A case that `make test` leaves out: each trains a step in a process of its own."""
    return pytest.param(config, train, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "config,train",
    [
        slow(TRANSFORMER),
        slow(dataclasses.replace(TRANSFORMER, num_heads=8, feed_forward_dim=1024, num_layers=2)),
        slow(
            dataclasses.replace(TRANSFORMER, vocabulary_size=8000),
            dataclasses.replace(TRAIN, global_batch_size=8),
        ),
        slow(dataclasses.replace(LSTM, num_layers=2)),
        slow(LLAMA),
        slow(MODERN),
        slow(CAPPED),
        slow(GEMMA_3),
        slow(
            dataclasses.replace(GEMMA_3, num_layers=8),
            dataclasses.replace(TRAIN, remat=True, loss_chunk_tokens=256),
        ),
        slow(
            dataclasses.replace(MODERN, num_layers=6),
            dataclasses.replace(TRAIN, remat=True, loss_chunk_tokens=256),
        ),
        slow(GRU),
        slow(NNLM),
        slow(BILSTM),
        slow(
            dataclasses.replace(TRANSFORMER, vocabulary_size=8000, num_layers=6),
            dataclasses.replace(TRAIN, remat=True, loss_chunk_tokens=256),
        ),
    ],
)
def test_memory_is_what_xla_assigns_to_the_real_step(config, train):
    words = json.dumps({"family": config.family, **dataclasses.asdict(config)})
    options = [
        "--batch",
        str(train.global_batch_size),
        "--steps",
        "1",
        "--chunk",
        str(train.loss_chunk_tokens),
    ]
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.plan_side",
            words,
            *options,
            *(["--remat"] if train.remat else []),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    real = json.loads(run.stdout.splitlines()[-1])
    memory = memory_of(config.costs(), config, train, devices=1)
    # XLA's temporaries are the gradients and what lives between forward and backward pass.
    planned = memory.gradients + memory.activations + memory.logits
    # Where the update takes up a gradient at once, as of an NNLM's embedding, less lives.
    assert 0.75 < planned / real["temp_bytes"] < 1.35
    # A checkpoint holds weights and AdamW's two moments, and a few counters.
    assert memory.weights + memory.optimizer == pytest.approx(real["state_bytes"], abs=100)


def test_memory_by_hand():
    costs = TRANSFORMER.costs()
    p = 4.0 * costs.parameters
    tokens = 16 * 128
    memory = memory_of(costs, TRANSFORMER, TRAIN, 1)
    assert (memory.weights, memory.gradients, memory.optimizer, memory.averages) == (p, p, 2 * p, 0)
    assert memory.logits == tokens * 1000 * 8
    assert memory.activations == tokens * 4 * (4 * (8 * 128 + 4 * 512 + 4 * 128) + 3 * 128)
    cut = dataclasses.replace(TRAIN, micro_batches=4, ema_decay=0.9, precision="mixed_bfloat16")
    memory = memory_of(costs, TRANSFORMER, cut, 2)
    assert (memory.weights, memory.gradients, memory.averages) == (1.5 * p, 2 * p, p)
    assert memory.logits == tokens / 8 * 1000 * 10


def test_time_and_communication_by_hand():
    made = plan(TRANSFORMER, TRAIN, devices=4, chip=SLOW, tokens=1e6)
    costs = TRANSFORMER.costs()
    memory = memory_of(costs, TRANSFORMER, TRAIN, 4)
    moved = (
        3 * (memory.activations + memory.logits)
        + 2 * (memory.weights + memory.optimizer)
        + memory.gradients
    )
    assert made.compute_seconds == pytest.approx(
        3 * costs.forward_flops * 4 * 128 / 0.5e12 + moved / 1e10
    )
    assert made.all_reduce_bytes == 2 * 3 / 4 * 4 * costs.parameters
    assert made.communication_seconds == pytest.approx(made.all_reduce_bytes / 1e9)
    assert made.tokens_per_second == pytest.approx(16 * 128 / made.step_seconds)
    assert made.device_hours == pytest.approx(4 * 1e6 / made.tokens_per_second / 3600)
    assert [s.devices for s in made.scaling] == [1, 2, 4]
    assert made.scaling[0].efficiency == 1 and made.scaling[-1].step_seconds == pytest.approx(
        made.step_seconds
    )
    # Nine devices are more than a node: its eight adapters carry the ring, at most as fast as the links inside.
    over = plan(TRANSFORMER, dataclasses.replace(TRAIN, global_batch_size=36), devices=9, chip=SLOW)
    assert over.communication_seconds == pytest.approx(2 * 8 / 9 * 4 * costs.parameters / 8e8)


def test_memory_savings_save_no_time():
    whole, chunks, remat = (
        plan(TRANSFORMER, dataclasses.replace(TRAIN, **options), chip=SLOW)
        for options in ({}, {"loss_chunk_tokens": 64}, {"remat": True})
    )
    assert (
        chunks.memory.logits < whole.memory.logits
        and chunks.compute_seconds == whole.compute_seconds
    )
    costs = TRANSFORMER.costs()
    again = costs.forward_flops * 16 * 128 / 0.5e12 + whole.memory.activations / 1e10
    assert remat.memory.activations < whole.memory.activations
    assert remat.compute_seconds == pytest.approx(whole.compute_seconds + again)


def test_what_makes_it_fit_is_said_and_true():
    chip = dataclasses.replace(SLOW, memory=60e6 / 0.9)
    made = plan(TRANSFORMER, TRAIN, chip=chip)
    assert not made.fits and "makes it fit" in made.advice
    micro = int(made.advice.split("--train.micro_batches ")[1].split()[0])
    assert plan(TRANSFORMER, dataclasses.replace(TRAIN, micro_batches=micro), chip=chip).fits
    hopeless = plan(TRANSFORMER, TRAIN, chip=dataclasses.replace(SLOW, memory=1e6))
    assert (
        "no memory option makes it fit" in hopeless.advice
        and "which tfscale does not do" in hopeless.advice
    )


def test_every_published_chip_has_its_source():
    for chip in CHIPS.values():
        assert chip.source and chip.peak > chip.peak_float32 > 0 and chip.memory < 100e9


@pytest.mark.parametrize(
    "change,options,message",
    [
        ({}, {"chip": "h10"}, "unknown chip 'h10'; did you mean h100"),
        ({}, {"devices": 0}, "devices=0 is out of range"),
        (
            {},
            {"utilization": 40.0},
            "utilization=40.0 is out of range; expected a share of the peak above 0",
        ),
        ({}, {"utilization": 0.0}, "utilization=0.0 is out of range"),
        ({}, {"tokens": 0.0}, "tokens=0.0 is out of range; expected more than 0"),
        ({}, {"devices": 3, "chip": "h100"}, "devices x micro_batches = 3 x 1 = 3; 15 would be"),
        ({"vocabulary_size": 0}, {}, "needs a vocabulary size"),
    ],
)
def test_mistakes_are_named(change, options, message):
    with pytest.raises(ConfigError, match=message):
        plan(dataclasses.replace(TRANSFORMER, **change), TRAIN, **options)


def test_the_command_plans_a_billion_parameters(capsys):
    result = command.run(
        command.COMMAND.parse(["examples/plan_1b3.yaml", "--devices", "64", "--chip", "h100"])
    )
    assert result["parameters"] == 1_315_180_544
    assert result["fits"] and result["token_budget"] == 20 * 1_315_180_544
    command.show(result)
    assert "fits: it fits as it is" in capsys.readouterr().out
    words = [
        "examples/plan_1b3.yaml",
        "--devices",
        "64",
        "--chip",
        "h100",
        "--train.micro_batches",
        "2",
    ]
    result = command.run(command.COMMAND.parse(words))
    assert not result["fits"] and "--train.micro_batches 4 makes it fit" in result["advice"]
    command.show(result)
    assert "DOES NOT FIT" in capsys.readouterr().out


def test_a_config_that_names_its_steps_is_planned_for_them(tmp_path):
    path = str(tmp_path / "config.yaml")
    text = "model:\n  vocabulary_size: 100\n  sequence_length: 64\ntrain:\n  global_batch_size: 8\n"
    (tmp_path / "config.yaml").write_text(text)
    assert command.COMMAND.parse([path]).tokens is None
    assert command.COMMAND.parse([path, "--train.steps", "10"]).tokens == 10 * 8 * 64
    (tmp_path / "config.yaml").write_text(text + "  steps: 300\n")
    assert command.COMMAND.parse([path]).tokens == 300 * 8 * 64
    assert command.COMMAND.parse([path, "--tokens", "5e6"]).tokens == 5e6
    result = command.run(command.COMMAND.parse([path, "--chip", "h100"]))
    assert result["token_budget"] == 300 * 8 * 64


def test_this_machine_is_measured():
    made = plan(TRANSFORMER, TRAIN, chip="cpu")
    assert made.chip == "cpu" and made.memory_per_device > 1e8 and 1e-4 < made.step_seconds < 100
