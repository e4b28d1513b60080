"""The programs that a TPU would be given: the real steps are clean, the gate can fail, and a compiler that fails is reported.

The compiler itself is a script that pretends, except under the marker `tpu` (`make test-tpu`).
"""

import json
import os
import stat
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from tfscale import cli
from tfscale.compat.tensorflow_products import may_call_onednn
from tfscale.config import TrainConfig
from tfscale.config.models import network_families
from tfscale.errors import ConfigError, TfscaleError
from tfscale.training.xla import compiled_by_xla
from tfscale.workflows.tpu_check import check, compiler
from tfscale.workflows.tpu_check.check import run_compiler, tpu_check
from tfscale.workflows.tpu_check.lowering import Findings, find, lower, lower_steps

TRAIN = TrainConfig(
    global_batch_size=16, precision="mixed_bfloat16", micro_batches=2, ema_decay=0.9
)
GOOD = {"compiled": True, "error": None, "temporaries": 5 * 2**20, "flops": 1e6}


def config_of(family):
    return network_families()[family](
        vocabulary_size=50, sequence_length=16, hidden_dim=16, dropout=0.1
    )


@pytest.fixture
def fake(tmp_path):
    """A program in the place of Python with the compiler; its code sees the topology and the paths in sys.argv[2:]."""

    def make(code):
        path = tmp_path / "python"
        path.write_text(
            f"#!{sys.executable}\nimport json, os, sys, time\nGOOD = json.loads('''{json.dumps(GOOD)}''')\n{code}"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=() if name in ("lstm", "transformer") else pytest.mark.slow)
        for name in network_families()
    ],
)
def test_the_steps_of_every_family_have_fixed_shapes_and_nothing_odd(family):
    steps = lower_steps(config_of(family), TRAIN, chips=4)
    assert [step.name for step in steps] == ["train", "evaluation"]
    for step in steps:
        assert step.findings == Findings((), (), ()) and len(step.hlo) > 1000
    # Weights, averages, the counters, and moments: two of AdamW, one of Muon's matrices.
    copies = 3 if family in ("transformer", "lstm", "gru") else 4
    assert steps[0].state_bytes > copies * steps[0].weight_bytes


def lowered(function):
    compiled = tf.function(function, jit_compile=True)
    return lower("train", compiled, (tf.zeros((4, 8), tf.int32),), 0, 0)


def test_products_of_this_machines_processor_are_not_lowered():
    matrix = tf.zeros((64, 64), tf.bfloat16)
    if may_call_onednn():
        own = compiled_by_xla(tf.matmul).experimental_get_compiler_ir(matrix, matrix)
        assert "onednn" in own(stage="hlo")  # what training on this processor has
    within = tf.function(compiled_by_xla(tf.matmul), jit_compile=True)
    for function in (compiled_by_xla(tf.matmul), within):
        assert lower("train", function, (matrix, matrix), 0, 0).findings == Findings((), (), ())


def test_dynamic_shapes_are_found():
    assert lowered(lambda x: tf.reduce_sum(tf.unique(tf.reshape(x, [-1]))[0])).findings.dynamic
    assert lowered(lambda x: tf.reduce_sum(tf.boolean_mask(x, x > 0))).findings.dynamic
    assert not lowered(lambda x: tf.reduce_sum(tf.where(x > 0, x, 0))).findings.dynamic


def test_float64_and_custom_calls_are_found():
    findings = lowered(
        lambda x: tf.linalg.matmul(tf.cast(x, tf.float64), tf.cast(x, tf.float64), transpose_b=True)
    ).findings
    assert any("dot" in name for name in findings.float64)
    text = "func.func @main() {\n  %0 = stablehlo.custom_call @TopK(%arg0) : (tensor<4xf32>) -> tensor<4xf32>\n}"
    assert find(text).custom_calls == ("TopK",)


def test_strings_in_the_step_are_refused():
    with pytest.raises(
        ConfigError, match="the train step cannot be compiled for a TPU: it uses .*AsString"
    ):
        lowered(lambda x: tf.strings.length(tf.strings.as_string(x)))


def test_a_step_with_dynamic_shapes_is_refused(monkeypatch, fake):
    class Unique(keras.layers.Layer):
        def call(self, x):
            return x + 0 * tf.cast(
                tf.reduce_sum(tf.unique(tf.reshape(tf.cast(x, tf.int32), [-1]))[0]), x.dtype
            )

    def network(*_):
        inputs = keras.Input((None,), dtype="int32")
        return keras.Model(
            inputs, keras.layers.Dense(50)(Unique()(keras.layers.Embedding(50, 8)(inputs)))
        )

    monkeypatch.setattr("tfscale.models.build_network", network)
    with pytest.raises(
        ConfigError, match="the train step has dynamic shapes .*keep every shape fixed"
    ):
        tpu_check(
            config_of("lstm"),
            TrainConfig(global_batch_size=8, optimizer="adamw"),  # it has no hidden matrix
            ["v5e:2x2"],
            compiler_python=fake(""),
        )


def test_the_report_and_its_command(fake, capsys):
    python = fake("for path in sys.argv[3:]: print(json.dumps(GOOD))")
    words = [
        "tpu-check",
        "--model.vocabulary_size",
        "50",
        "--model.hidden_dim",
        "16",
        "--model.num_layers",
        "1",
        "--topology",
        "v5e:2x2",
        "--compiler-python",
        python,
    ]
    assert cli.main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    (chip,) = result["chips"]
    assert (chip["chips"], chip["rows_per_chip"], chip["memory"], chip["compiled"]) == (
        4,
        8,
        2**34,
        True,
    )
    assert [step["temporaries"] for step in chip["steps"]] == [5 * 2**20] * 2
    assert cli.main(words) == 0
    assert (
        "compiled by the TPU compiler (libtpu 0.0.52); not run on a TPU" in capsys.readouterr().out
    )


@pytest.mark.slow
def test_what_makes_it_fit_is_found_by_trying(fake, tmp_path):
    python = fake(
        f"count = len(os.listdir({str(tmp_path)!r}))\n"
        f"open({str(tmp_path)!r} + f'/call-{{count}}', 'w')\n"
        "for path in sys.argv[3:]:\n"
        "    print(json.dumps(GOOD if count > 2 else {'compiled': False, 'error': 'RESOURCE_EXHAUSTED: HbmOom'}))"
    )
    (chip,) = tpu_check(
        config_of("lstm"), TrainConfig(global_batch_size=32), ["v6e:2x2"], compiler_python=python
    )["chips"]
    assert not chip["compiled"] and "makes it fit" in chip["advice"]
    assert len(list(tmp_path.glob("call-*"))) == 3


@pytest.fixture(scope="module")
def lstm_steps():
    return lower_steps(config_of("lstm"), TrainConfig(global_batch_size=4), chips=4)


@pytest.mark.parametrize(
    "code,seconds,message",
    [
        (
            "print(json.dumps(GOOD)); sys.stdout.flush(); os.abort()",
            60.0,
            r"the TPU compiler crashed \(exit code -6\)",
        ),
        (
            "print(json.dumps(GOOD)); sys.stdout.flush(); time.sleep(600)",
            5.0,
            "did not end within 5 s",
        ),
        ("print(json.dumps(GOOD))", 60.0, "the TPU compiler said nothing"),
    ],
)
def test_a_crash_or_hang_of_the_compiler_is_our_message(fake, lstm_steps, code, seconds, message):
    first, second = run_compiler(lstm_steps, "v5e:2x2", fake(code), seconds)
    assert first["compiled"] and not second["compiled"]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(second["error"])


@pytest.mark.parametrize(
    "topology,train,python,message",
    [
        ("v9:2x2", TRAIN, "x", "unknown topology 'v9:2x2'; expected v4"),
        ("v5e", TRAIN, "x", "unknown topology 'v5e'"),
        ("v5e:4x4", TRAIN, "x", "not divisible by replicas x micro_batches = 16 x 2"),
        ("v5e:2x2", TRAIN, "/no/python", "/no/python cannot be started"),
        ("v5e:2x2", TRAIN, sys.executable, "does not have the TPU compiler"),
    ],
)
def test_mistakes_are_named(topology, train, python, message):
    with pytest.raises(ConfigError, match=message):
        tpu_check(config_of("lstm"), train, [topology], compiler_python=python)


def test_a_failed_installation_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        check.compiler, "REQUIREMENTS", ("no-such-package-of-ours==1.0", "libtpu==9.9")
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    notes = []
    with pytest.raises(TfscaleError, match="could not be installed into .*give --compiler-python"):
        check.find_compiler(notes.append)
    assert "installing the TPU compiler" in notes[0]


@pytest.mark.tpu
@pytest.mark.parametrize("family", network_families())
def test_the_tpu_compiler_takes_the_steps_of_every_family(family):
    """With the real compiler, which TFSCALE_TPU_COMPILER names."""
    result = tpu_check(
        config_of(family), TRAIN, ["v5e:2x2"], compiler_python=os.environ["TFSCALE_TPU_COMPILER"]
    )
    (chip,) = result["chips"]
    assert chip["compiled"], chip
    # Weights and state are updated in place; what is left is small for such a model.
    assert all(0 <= step["temporaries"] < 2**24 for step in chip["steps"])


@pytest.fixture(scope="module")
def lowered_by_tpu_kernels(tmp_path_factory):
    """A folder with the train step of each family, lowered by tensorflow-tpu's own kernels for 4 replicas."""
    folder = tmp_path_factory.mktemp("lowered")
    program = os.path.join(os.path.dirname(__file__), "lower_by_tpu_kernels.py")
    environ = {
        **os.environ,
        "TPU_SKIP_MDS_QUERY": "1",
        "PYTHONPATH": os.getcwd(),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    python = os.environ["TFSCALE_TENSORFLOW_TPU"]
    done = subprocess.run(
        [python, program, folder, "4"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.tpu
@pytest.mark.parametrize("family", network_families())
def test_the_tpu_compiler_takes_what_tpu_kernels_make_of_every_family(
    family, lowered_by_tpu_kernels
):
    """As a TPU would see it: TFSCALE_TENSORFLOW_TPU names a Python with the wheel tensorflow-tpu."""
    program = [os.environ["TFSCALE_TPU_COMPILER"], compiler.__file__, "v5e:2x2", "--replicas=4"]
    done = subprocess.run(
        [*program, lowered_by_tpu_kernels / f"{family}.hlo.pb"], capture_output=True, text=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["compiled"], result
    # The gradients, the loss and the token count of a step are summed over the replicas.
    assert result["all_reduces"] >= 1
    assert 0 < result["temporaries"] < 2**24


@pytest.mark.tpu
def test_the_tpu_compiler_refuses_what_does_not_fit():
    # 128 rows a chip, 8 heads of 2,048 x 2,048 attention weights each: 17 GB, more than once.
    config = network_families()["transformer"](
        vocabulary_size=50, sequence_length=2048, hidden_dim=64, num_layers=1, num_heads=8
    )
    train = TrainConfig(global_batch_size=512, precision="mixed_bfloat16")
    result = tpu_check(
        config, train, ["v5e:2x2"], compiler_python=os.environ["TFSCALE_TPU_COMPILER"]
    )
    (chip,) = result["chips"]
    assert not chip["compiled"] and "RESOURCE_EXHAUSTED" in chip["steps"][0]["error"]
    assert "--train.micro_batches" in chip["advice"] and "makes it fit" in chip["advice"]
