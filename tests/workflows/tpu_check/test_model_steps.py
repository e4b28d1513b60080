"""The step of `tfscale.Model` as a TPU gets it: one program, of fixed shapes, and right where it can be run.

Nothing here runs on a TPU. The program of one of four chips is lowered by plain TensorFlow; under the marker `tpu`
(`make test-tpu`) the real TPU compiler compiles it.
"""

import json
import os
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.slow import slow_but
from tests.workflows.tpu_check.lowered_models import CASES, compiled_model, lower_model_steps
from tfscale.errors import ConfigError
from tfscale.workflows.tpu_check import compiler
from tfscale.workflows.tpu_check.check import TOPOLOGIES
from tfscale.workflows.tpu_check.lowering import Findings, write


@pytest.fixture(scope="module", params=slow_but(list(CASES), "cnn"))
def lowered(request):
    """The name of a model, and its steps in mixed_bfloat16."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield request.param, lower_model_steps(CASES[request.param])
    keras.config.set_dtype_policy(before)


def test_the_steps_of_any_model_have_fixed_shapes_and_nothing_odd(lowered):
    _, steps = lowered
    assert [step.name for step in steps] == ["train", "evaluation"]
    for step in steps:
        assert step.findings == Findings((), (), ()) and len(step.hlo) > 1000


@pytest.fixture
def one_device_as_tpu(monkeypatch):
    """A strategy of one device that tfscale takes for a TPU's."""
    monkeypatch.setattr(tf.distribute, "TPUStrategy", tf.distribute.OneDeviceStrategy)
    return tf.distribute.OneDeviceStrategy("/cpu:0")


def trained(case, data):
    """Returns weights and logs of two epochs of two steps."""
    model = compiled_model(case, xla=False)
    history = model.fit(data, epochs=2, shuffle=False, verbose=0)
    return model.get_weights(), history.history


@pytest.mark.parametrize("name", slow_but(["lstm", "cnn"], "cnn"))
def test_the_step_that_a_tpu_takes_trains_like_the_step_elsewhere(name, one_device_as_tpu):
    case = CASES[name]
    data = tf.data.Dataset.from_tensor_slices(case.batch(16)).batch(8, drop_remainder=True)
    expected, expected_logs = trained(case, data)
    with one_device_as_tpu.scope():
        weights, logs = trained(case, data)
    moved = compiled_model(case).get_weights()
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(moved, weights, strict=True))
    for a, b in zip(expected, weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert logs.keys() == expected_logs.keys()
    for key, values in logs.items():
        np.testing.assert_allclose(values, expected_logs[key], rtol=1e-4)


def test_a_tpu_is_not_given_batches_of_any_size(one_device_as_tpu):
    case = CASES["cnn"]
    data = tf.data.Dataset.from_tensor_slices(case.batch(16)).batch(8)
    with one_device_as_tpu.scope():
        model = compiled_model(case)
        with pytest.raises(ConfigError, match="gives batches of any number of rows.*drop_remain"):
            model.fit(data, shuffle=False, verbose=0)


@pytest.mark.tpu
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_tpu_compiler_takes_the_steps_of_any_model(topology, lowered, tmp_path):
    """With the real compiler, which TFSCALE_TPU_COMPILER names, for four chips."""
    name, steps = lowered
    program = [os.environ["TFSCALE_TPU_COMPILER"], compiler.__file__, topology, "--replicas=4"]
    done = subprocess.run([*program, *write(steps, tmp_path)], capture_output=True, text=True)
    train, evaluation = map(json.loads, done.stdout.splitlines())
    assert train["compiled"] and evaluation["compiled"], (train, evaluation)
    # Of some programs this compiler cannot tell: see `compiler.all_reduces`.
    known = [] if topology == "v5e:2x2" else [None]
    assert train["all_reduces"] in [CASES[name].all_reduces, *known]
    assert evaluation["all_reduces"] in [1, *known]
    # Weights and moments are updated in place; what is left is small for such a model.
    assert train["aliased"] >= 3 * steps[0].weight_bytes
    assert 0 < train["temporaries"] < 2**24
