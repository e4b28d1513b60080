"""The benchmark compares like with like: the same model on both sides, and verdicts that follow from the figures."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    corpus,
    document_mask,
    memory,
    memory_side,
    precision_side,
    prepare_peer,
    prepare_side,
    quality,
    recipe,
)
from benchmarks.__main__ import main
from benchmarks.rounds import BenchmarkError, in_turn, measure
from benchmarks.sections import SECTIONS, Bench
from benchmarks.table import Row, Wanted, figure
from tests.slow import slow_but
from tfscale.config import PrepareConfig
from tfscale.data.manifest import Manifest
from tfscale.data.prepare import prepare
from tfscale.errors import DataError
from tfscale.text.tokenizers import load_tokenizer

NO_TORCH = "PyTorch is in the extra benchmark"


@pytest.mark.parametrize(
    ("relation", "bound", "kept", "missed"),
    [
        (">=", 1.4, [1.4, 2.0], [1.399, math.nan]),
        ("<=", 0.3, [0.3, 0.1], [0.301, math.nan]),
        ("<", 1.0, [0.999], [1.0, math.nan]),
        ("+-", 0.01, [0.991, 1.009], [0.989, 1.011, math.nan]),
    ],
)
def test_a_bound_is_kept_or_missed(relation, bound, kept, missed):
    wanted = Wanted(relation, bound)
    assert [wanted.met_by(value) for value in kept] == [True] * len(kept)
    assert [wanted.met_by(value) for value in missed] == [False] * len(missed)


def test_a_row_divides_ours_by_the_peers():
    row = Row("training", "step", "tokens/s", 300.0, 200.0, "PyTorch", Wanted(">=", 1.4))
    assert (row.ratio, row.ok) == (1.5, True)
    assert row.to_dict()["wanted"] == ">= 1.4"
    alone = Row("input", "waiting", "1", 0.03, wanted=Wanted("<", 0.02))
    assert (alone.ratio, alone.ok) == (None, False)
    assert Row("prepare", "all", "tokens/s", 1.0, 2.0, "library").ok is None
    by_zero = Row("training", "step", "tokens/s", 1.0, 0.0, "PyTorch", Wanted("<", 1.4))
    assert math.isnan(by_zero.ratio) and by_zero.ok is False


def test_a_row_of_rounds_has_the_median_of_their_ratios():
    row = Row("fit", "step", "steps/s", 4.0, 4.0, "Keras", Wanted(">=", 1.0), (2.0, 0.5, 0.75))
    assert (row.ratio, row.ok, row.shown_ratio) == (0.75, False, "0.750 (0.62 to 1.38)")
    assert Row("fit", "step", "steps/s", 3.0, 2.0, "Keras").shown_ratio == "1.500"
    assert Row("input", "waiting", "1", 0.03).shown_ratio == ""


def test_sides_of_one_process_take_turns_in_other_orders():
    from benchmarks.fit_side import in_rounds

    calls = []

    def side(name, seconds):
        return lambda steps: calls.append(name) or seconds * steps

    rates = in_rounds({"a": side("a", 0.5), "b": side("b", 0.25), "c": side("c", 1.0)}, 7, 3)
    assert rates == {"a": [2, 2, 2], "b": [4, 4, 4], "c": [1, 1, 1]}
    assert ["".join(calls[i : i + 3]) for i in (0, 3, 6, 9)] == ["abc", "cba", "bca", "bac"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nanogpt", "cnn", "lstm"])
def test_the_sides_of_fit_train_the_same_network_alike(name):
    """Two steps from the same weights; where ids repeat, Keras's Adam differs a little from ours."""
    import keras
    import tensorflow as tf

    from benchmarks import fit_side
    from benchmarks.fit_models import LANGUAGE, MODELS

    model = MODELS[name]
    keras.utils.set_random_seed(0)
    data = tf.data.Dataset.from_tensor_slices(model.data(2 * model.batch_size))
    data = data.batch(model.batch_size, drop_remainder=True)
    stock, *ours = [fit_side.stock(model, False, 2), fit_side.ours(model, 2)]
    ours += [fit_side.language(model)] if name == LANGUAGE else []
    wanted = stock.optimizer.get_config() | {"global_clipnorm": None, "name": None}
    for side in ours:
        side.network.set_weights(stock.get_weights())
        assert side.optimizer.get_config() | {"name": None} == wanted
        assert side.train_step_runner.options.clip_norm == model.clip_norm
    assert (stock.optimizer.global_clipnorm or 0) == model.clip_norm
    [loss] = stock.fit(data, shuffle=False, verbose=0).history["loss"]
    for side in ours:
        found = side.fit(data, shuffle=False, verbose=0).history["loss"]
        assert found == pytest.approx([loss], rel=1e-4)


@pytest.mark.slow
def test_the_fit_section_runs_with_few_steps(capsys, monkeypatch):
    from benchmarks import fit_side

    arguments = ["fit_side", "cnn", "--steps", "2", "--rounds", "2", "--task"]
    for task in ("fit", "evaluate"):
        monkeypatch.setattr(sys, "argv", [*arguments, task])
        fit_side.main()
        rates = json.loads(capsys.readouterr().out)["rates"]
        assert list(rates) == [fit_side.OURS, *fit_side.STOCK]
        assert all(len(values) == 2 and min(values) > 0 for values in rates.values())


def test_the_reading_section_runs_with_few_tokens(tmp_path, capsys, monkeypatch):
    from benchmarks import reading_side

    # The process of the tests keeps its cores.
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None)
    given = ["--data", str(tmp_path / "data"), "--length", "32", "--step", "100"]
    found = {}
    for task in ("make", "rate", "resume"):
        size = ["--shards", "2", "--tokens", "40000", "--seconds", "0.1"]
        monkeypatch.setattr(sys, "argv", ["reading_side", task, *given, *size])
        reading_side.main()
        found |= json.loads(capsys.readouterr().out)
    assert found["tokens_per_second"] > 0 and found["seconds"] > 0
    assert Manifest.load(str(tmp_path / "data"), "sha256").splits["train"].tokens == 40_000


def test_figures_keep_four_digits():
    assert [figure(x) for x in (38387.6, 1.90512, 0.00123, 999.96)] == [
        "38,388",
        "1.905",
        "0.00123",
        "1000",
    ]


def test_sides_take_turns_and_keep_their_best():
    answers = {"a": iter([10, 30, 20]), "b": iter([5, 4, 3])}
    order, notes = [], []

    def run(name):
        order.append(name)
        return {"tokens_per_second": next(answers[name])}

    sides = {"ours": ("a",), "peer": ("b",)}
    assert in_turn(sides, 3, "tokens_per_second", run, notes.append) == {"ours": 30, "peer": 5}
    assert order == ["a", "b"] * 3
    assert notes[0] == "round 1 of 3: ours 10 tokens/second"


def test_a_side_that_fails_says_why(tmp_path):
    with pytest.raises(BenchmarkError, match=r"(?s)exit code 1.*tokenizer\.model"):
        measure("prepare_side", "library", "--text", tmp_path / "text.txt", "--tokenizer", tmp_path)


RATE, DECODE = "tokens_per_second", "decode_tokens_per_second"
RATES = {"tfscale.Model": [6, 2, 4], "Keras, XLA": [2, 2, 5], "Keras, no XLA": [3, 4, 8]}
PRINTED = {
    **{f"fit_side {name}": {"what": name, "rates": RATES} for name in ("nanogpt", "cnn", "lstm")},
    "keras_side ours": {RATE: 11},
    "keras_side stock": {RATE: 12},
    "torch_side speed": {RATE: 13},
    "precision_side tfscale": {RATE: 14},
    "precision_side torch": {RATE: 15},
    "lstm_side ours": {RATE: 16},
    "lstm_side torch": {RATE: 17},
    "keras_side run": {"loss": 21, "input_wait_fraction": 22},
    "torch_side quality nanogpt": {"loss": 23},
    "torch_side quality ours": {"loss": 24},
    "reading_side make": {},
    "reading_side rate": {RATE: 51},
    "reading_side resume": {"seconds": 52},
    "prepare_side library": {RATE: 31},
    "prepare_side stage": {RATE: 32},
    "prepare_side whole": {RATE: 33},
    "prepare_peer tokenizer": {},
    "prepare_peer map": {RATE: 34},
    "prepare_peer batched": {RATE: 35},
    "device_side export": {"int8": 41, "none": 42},
    "device_side score int8": {"perplexity": 43},
    "device_side score none": {"perplexity": 44},
    "device_side file int8": {DECODE: 45},
    "device_side file none": {DECODE: 46},
    "device_side keras": {DECODE: 47},
}
"""The output of each side, without a measurement: every figure is another number."""


def printed(module, task, *arguments):
    """The figures of a side, which its settings and the export that it reads tell apart."""
    options = dict(zip(map(str, arguments), arguments[1:], strict=False))
    settings = [options["--settings"]] if "--settings" in options else []
    exports = [Path(options["--export"]).name] if "--export" in options else []
    return PRINTED[" ".join([module, task, *settings, *exports])]


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """A function of a section's name: (ours, the peer's) of each of its rows."""
    (tmp_path / "characters").mkdir()
    (tmp_path / "pieces").mkdir()
    (tmp_path / "text.txt").write_text("text")

    def printed_in_turn(sides, rounds, key, note):
        return {name: printed(*side)[key] for name, side in sides.items()}

    monkeypatch.setattr("benchmarks.sections.measure", printed)
    monkeypatch.setattr("benchmarks.reading_rows.measure", printed)
    monkeypatch.setattr("benchmarks.prepare_rows.measure", printed)
    monkeypatch.setattr("benchmarks.prepare_rows.has_datasets", lambda bench: True)
    monkeypatch.setattr("benchmarks.sections.in_turn", printed_in_turn)
    monkeypatch.setattr("benchmarks.sections.has_torch", lambda bench: True)
    monkeypatch.setattr("benchmarks.sections.shutil.which", lambda name: None)
    text, digest = tmp_path / "text.txt", recipe.TINYSHAKESPEARE_SHA256
    bench = Bench(text, digest, tmp_path, quick=False, note=lambda line: None)
    return lambda section: [(row.ours, row.peer) for row in SECTIONS[section](bench)]


def test_each_row_has_the_figures_of_its_sides(figures):
    pytorch, keras_fit = (11, 13), (11, 12)
    assert figures("training") == [pytorch, keras_fit, keras_fit]
    # Three Transformers and an LSTM, in two precisions each.
    assert figures("bfloat16") == 6 * [(14, 15)] + 2 * [(16, 17)]
    assert figures("fit") == 9 * [(4, 4)]
    assert figures("quality") == [(21, 23), (21, 24), (21, recipe.TINYSHAKESPEARE_LOSS)]
    assert figures("input") == [(22, None)]
    # Of one, 100 and 2,000 shards, and of two lengths.
    assert figures("reading") == 6 * [(51, 1e6), (2e4 / 51, None), (52, None), (52, None)]
    # Of documents of a paragraph and of a line; and beside datasets.map.
    assert figures("prepare") == [*2 * [(32, 31), (33, 31)], (33, 34), (33, 35)]
    # Size, perplexity, and the speed of the float32 and of the int8 file; of a Transformer, then of an LSTM.
    assert figures("device") == 2 * [(41, 42), (43, 44), (46, 47), (45, 47)]


def test_texts_are_cut_in_ten_and_repeated(tmp_path):
    assert corpus.cut("0123456789" * 3) == ("0123456789" * 2 + "0123456", "789")
    assert corpus.repeated("abc", 7) == "abc\n\nabc\n\nabc"
    path = tmp_path / "text.txt"
    digest = corpus.write(path, "line\r\nné\n")
    assert digest == "171faa2add7baaec747621e035de29d67daff9ce8b80aca82cf8d8bc778ba391"
    assert corpus.read_text(str(path)) == "line\r\nné\n"
    path.write_text("")
    with pytest.raises(DataError, match="is empty"):
        corpus.read_text(str(path))


def test_the_built_in_text_has_its_length():
    assert len(corpus.read_text(None)) == corpus.BUILT_IN_CHARACTERS


def test_main_prints_the_table_and_writes_json(tmp_path, monkeypatch, capsys):
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be")

    def section(bench: Bench):
        assert bench.text.read_text() == "to be or not to be" and bench.rounds == 2
        yield Row("input", "good", "1", 0.01, wanted=Wanted("<", 0.02))
        yield Row("input", "bad", "tokens/s", 1000.0, 2000.0, "somebody", Wanted(">=", 1.0))

    monkeypatch.setitem(SECTIONS, "input", section)
    result = tmp_path / "result.json"
    assert main(["--only", "input", "--quick", "--text", str(text), "--json", str(result)]) == 1
    printed = capsys.readouterr().out
    assert "0.500" in printed and "NO" in printed and "1 of 2 bounds kept" in printed
    written = json.loads(result.read_text())
    assert [(row["what"], row["ok"]) for row in written["rows"]] == [("good", True), ("bad", False)]
    assert written["machine"]["versions"]["keras"] != "not installed"
    assert main(["--only", "input", "--text", str(tmp_path / "absent.txt")]) == 2
    assert "absent.txt" in capsys.readouterr().err


def test_the_recipe_is_nanogpts():
    config = recipe.model_config(65)
    assert (config.sequence_length, config.hidden_dim, config.num_layers, config.num_heads) == (
        64,
        128,
        4,
        4,
    )
    assert (config.use_bias, config.dropout, config.tie_embeddings) == (False, 0.0, True)
    train = recipe.train_config(recipe.STEPS, recipe.NANOGPT)
    assert (train.steps, train.global_batch_size, train.warmup_steps, train.log_every) == (
        2000,
        12,
        100,
        20,
    )
    assert recipe.train_config(40, recipe.NANOGPT).warmup_steps == 20


def test_the_loss_of_a_run_is_that_of_the_validation_split(monkeypatch):
    from benchmarks import keras_side

    summary = {"loss": 1.0, "validation": {"nll_per_token": 2.0}, "input_wait_fraction": 0.5}
    monkeypatch.setattr(keras_side, "train", lambda *_, **__: summary)
    found = keras_side.run("data", 10, recipe.OURS)
    assert (found["loss"], found["input_wait_fraction"]) == (2.0, 0.5)


@pytest.fixture(scope="module")
def tokens():
    generator = np.random.default_rng(0)
    return {
        "train": generator.integers(0, 29, 4000).astype(np.uint16),
        "validation": generator.integers(0, 5, 200).astype(np.uint16),
        "end_id": 1,
        "vocabulary_size": 29,
    }


def torch_copy_of(network):
    """The peer with the weights of our network."""
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    from benchmarks.torch_gpt import GPT

    config = network.config
    peer = GPT(
        config.vocabulary_size,
        config.sequence_length,
        config.num_layers,
        config.num_heads,
        config.hidden_dim,
    )
    weights = {
        "tokens.weight": network.token_embedding.embeddings,
        "positions.weight": network.position_embedding.embeddings,
        "norm.weight": network.final_norm.gamma,
    }
    for index, block in enumerate(network.blocks):
        weights |= {
            f"blocks.{index}.norm_1.weight": block.attention_norm.gamma,
            f"blocks.{index}.query_key_value.weight": block.attention.query_key_value.kernel,
            f"blocks.{index}.output.weight": block.attention.output_projection.kernel,
            f"blocks.{index}.norm_2.weight": block.feed_forward_norm.gamma,
            f"blocks.{index}.expand.weight": block.expand.kernel,
            f"blocks.{index}.contract.weight": block.contract.kernel,
        }
    kernels = ("query_key_value.weight", "output.weight", "expand.weight", "contract.weight")
    state = {
        name: torch.from_numpy(
            np.array(value).T.copy() if name.endswith(kernels) else np.array(value)
        )
        for name, value in weights.items()
    }
    peer.load_state_dict(state, strict=True)
    return peer


@pytest.mark.slow
def test_the_peer_is_the_same_model(tokens):
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    import keras

    from benchmarks.torch_side import stream_loss
    from tfscale.data.pipeline import text_windows
    from tfscale.models import build_network, parameter_count
    from tfscale.training.language_model import LanguageModel

    network = build_network(recipe.model_config(29), seed=3)
    inputs, targets, weights = text_windows(tokens["validation"], recipe.SEQUENCE_LENGTH, end_id=1)
    model = LanguageModel(network)
    model.compile(keras.optimizers.AdamW(1e-2), clip_norm=1.0, xla=False)
    for trained in (False, True):
        if trained:
            model.fit(inputs, targets, sample_weight=weights, batch_size=4, epochs=4, verbose=0)
        peer = torch_copy_of(network)
        assert (
            sum(p.numel() for p in peer.parameters())
            == network.count_params()
            == parameter_count(network.config)
        )
        with torch.no_grad():
            logits = peer(torch.from_numpy(inputs.astype(np.int64)))[0].numpy()
        np.testing.assert_allclose(network(inputs).numpy(), logits, rtol=0, atol=1e-5)
        ours = model.evaluate((inputs, targets, weights))["loss"]
        assert ours == pytest.approx(
            stream_loss(peer, tokens["validation"], end_id=1, rows=2), abs=1e-5
        )
        assert (ours < math.log(29) - 0.2) == trained


def test_the_peer_starts_like_gpt2(tokens):
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    from benchmarks.torch_gpt import GPT

    torch.manual_seed(0)
    peer = GPT(29, 64, layers=4, heads=4, width=128)
    deviations = {
        name: float(p.detach().std()) for name, p in peer.named_parameters() if p.dim() == 2
    }
    assert deviations["blocks.3.expand.weight"] == pytest.approx(0.02, rel=0.03)
    assert deviations["blocks.0.contract.weight"] == pytest.approx(0.02 / math.sqrt(8), rel=0.03)


@pytest.mark.slow
def test_the_peer_trains_as_nanogpt_does(tokens):
    pytest.importorskip("torch", reason=NO_TORCH)
    from benchmarks.torch_side import Training, stream_loss

    training = Training(tokens, steps=2000)
    inputs, targets = training.next_batch
    assert inputs.shape == (12, 64) and (inputs[:, 1:] == targets[:, :-1]).all()
    assert [group["weight_decay"] for group in training.optimizer.param_groups] == [0.1, 0.0]
    rates = {}
    for step in (0, 99, 100, 1050, 2000):
        training.step = step
        rates[step] = training.learning_rate()
    assert rates == pytest.approx(
        {0: 1e-3 / 101, 99: 1e-1 / 101, 100: 1e-3, 1050: 5.5e-4, 2000: 1e-4}
    )
    training.step = 100
    before = stream_loss(training.network, tokens["train"][:640], end_id=1)
    for _ in range(10):
        training()
    assert stream_loss(training.network, tokens["train"][:640], end_id=1) < before - 0.01


def test_memory_ratios_and_verdicts_by_hand():
    def side(rss, loss):
        return {"losses": [9.0, loss], "rss_bytes": rss, "xla_bytes": None}

    results = {
        "Keras fit, XLA": side(900, 8.0),
        "Keras fit, no XLA": side(600, 8.0),
        "tfscale": side(300, 8.00007),
        "tfscale, remat": side(200, 8.0001),
        "tfscale, all together": side(160, 8.0),
    }
    rows = memory.judged("untied", results, 4.0)
    assert [row["ratio"] for row in rows] == [600 / 900, 1, 2, 3, 3.75]
    assert [row["same_losses"] for row in rows] == [True, True, True, False, True]
    assert [row["ok"] for row in rows] == [True, True, True, False, False]
    assert memory.judged("untied", results, 3.7)[-1]["ok"]


def test_memory_of_a_program_is_read_from_xlas_dump(tmp_path):
    for name, text in {
        "small": "allocation 0: size 8, thread-local:\nallocation 1: size 512, preallocated-temp:\n",
        "step": "allocation 3: size 4096, parameter 1\nallocation 12: size 1000, preallocated-temp:\n value: <1 x>\n"
        "allocation 13: size 24, preallocated-temp:\n",
    }.items():
        (tmp_path / f"module_1.{name}.cpu_after_optimizations-buffer-assignment.txt").write_text(
            text
        )
    assert memory_side.temporary_bytes(str(tmp_path)) == 1024
    assert memory_side.temporary_bytes(str(tmp_path / "absent")) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_is_that_of_the_call():
    """200 MB that are touched and given back within the call."""
    size, peak = memory_side.peak_bytes(lambda: np.ones(25_000_000).nbytes)
    assert abs(peak - size) < 10_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.slow
def test_memory_benchmark_runs_and_saves(tmp_path, capsys):
    assert memory.main(["--quick", "--json", str(tmp_path / "memory.json")]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "memory.json").read_text())["rows"]}
    assert all(row["same_losses"] for row in rows.values())
    xla = {name: row["xla_bytes"] for name, row in rows.items()}
    assert xla["Keras fit, no XLA"] is None
    assert xla["tfscale, remat"] < 0.85 * xla["tfscale"]
    assert xla["tfscale, all together"] < 0.3 * xla["tfscale"]
    assert "memory of a train step" in capsys.readouterr().out


def test_the_side_of_bfloat16_takes_steps_with_the_options_of_today():
    shape = precision_side.Shape(1, 2, 16, 32, 8, 2, steps=1)
    precision_side.ours(shape, "mixed_bfloat16", "off")()


@pytest.mark.parametrize("kind", ["line", pytest.param("paragraph", marks=pytest.mark.slow)])
def test_the_sides_of_prepare_count_the_same_tokens(kind, tmp_path):
    lines = [f"{number} is a number, and {number * 7} another one\n\n" for number in range(300)]
    text = str(tmp_path / "text.txt")
    corpus.write(text, "".join(lines))
    data = str(tmp_path / "data")
    prepare(PrepareConfig(text=[text], documents=kind, vocabulary_size=300, output=data), False)
    tokenizer = str(tmp_path / "data" / "tokenizer")
    counted = {task(text, tokenizer, kind)[0] for task in prepare_side.TASKS.values()}
    pieces = load_tokenizer(tokenizer)
    assert counted == {sum(len(pieces.encode(line.strip())) for line in lines)}


@pytest.mark.parametrize("batched", slow_but([False, True], True))
def test_the_peer_of_prepare_makes_the_same_tokens(batched, tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="datasets is in the extra benchmark")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    text, tokenizer = str(tmp_path / "text.txt"), str(tmp_path / "tokenizer")
    corpus.write(text, "".join(f"{n} is a number, {n * 7} another\n" for n in range(2001)))
    prepare_peer.train(text, tokenizer)
    theirs, _ = prepare_peer.nanogpt(text, tokenizer, batched)
    assert theirs == prepare_side.whole(text, tokenizer, "line")[0]


def test_the_sides_of_documents_apart_take_steps():
    tokens = document_mask.windows(8, 1000, 10)
    assert 600 < (tokens == document_mask.START).sum() < 1000
    assert (document_mask.windows(8, 1000, 0) != document_mask.START).all()
    tokens = document_mask.windows(2, 8, 3)
    small = {"hidden_dim": 8, "embedding_dim": 8}
    sides = [document_mask.side("lstm", apart, tokens, 1, False, **small) for apart in (0, 1)]
    assert min(document_mask.seconds(sides, 1)) > 0
    ways = document_mask.attention_sides(20, 2, 5, xla=False)
    for at_once, blocks in zip(*(way() for way in ways), strict=True):
        np.testing.assert_allclose(blocks, at_once, atol=1e-4)


def test_options_of_the_quality_benchmark_suit_the_models():
    for name, (model, train) in quality.ENTRIES.items():
        if name != "ngram":
            assert train.for_model(model).optimizer == "muon"
