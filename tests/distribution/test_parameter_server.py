"""Training with parameter servers: the answer of one worker, the loss and the counts of two, processes that die."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import pytest

from benchmarks.soak import cluster_processes, last_step, prepare_data, train_words
from tests.distribution.addresses import free_addresses
from tests.distribution.in_process_cluster import EXACT, QUICK, QUICK_OPTIMIZERS
from tfscale import cli
from tfscale.distribution.cluster import Cluster, read_cluster
from tfscale.distribution.parameter_server import parameter_server_strategy
from tfscale.distribution.strategy import _make, serves_only
from tfscale.errors import ConfigError, WorkerLostError
from tfscale.training.row_tables import _looked_up_only

HERE = os.path.dirname(__file__)


def play(scene, folder):
    result = folder / f"{scene}.json"
    program = os.path.join(HERE, "in_process_cluster.py")
    environ = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(HERE))}
    done = subprocess.run(
        [sys.executable, program, scene, result], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(result.read_text())


@pytest.fixture(scope="module")
def quick_one_worker(tmp_path_factory):
    return play("quick_one_worker", tmp_path_factory.mktemp("quick_one_worker"))


@pytest.fixture(scope="module")
def slow_one_worker(tmp_path_factory):
    return play("slow_one_worker", tmp_path_factory.mktemp("slow_one_worker"))


CASES = [
    pytest.param(case, marks=() if case in QUICK else pytest.mark.slow, id=case) for case in EXACT
]


@pytest.fixture(params=CASES)
def one_worker(request):
    """A case's name and its results; those of `make test` come from a shorter process."""
    case = request.param
    if case in QUICK:
        return case, request.getfixturevalue("quick_one_worker")["cases"][case]
    return case, request.getfixturevalue("slow_one_worker")[case]


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    return play("two_workers", tmp_path_factory.mktemp("two_workers"))


def test_with_one_worker_the_answer_is_that_of_a_single_device(one_worker):
    _, result = one_worker
    assert result["names"] and result["repeated"] == 0
    # bfloat16 and float16 round alike here: the same operations in the same order, without XLA.
    assert result["loss"] < 2e-6 and result["validation"] < 2e-6 and result["state"] < 2e-6
    assert result["learning rate"][0] == result["learning rate"][1]


def test_some_optimizers_give_the_answer_of_a_single_device(quick_one_worker):
    gaps = quick_one_worker["optimizers"]
    assert set(gaps) == set(QUICK_OPTIMIZERS)
    assert max(gaps.values()) < 2e-6, gaps


@pytest.mark.slow
def test_optimizers_give_the_answer_of_a_single_device(tmp_path):
    """Those that are not in the list are refused; see tests/training/test_optimizer_equality.py."""
    gaps = play("optimizers", tmp_path)
    assert set(gaps) == {"adagrad", "adam", "adamax", "adamw", "lion", "rmsprop", "sgd"}
    assert max(gaps.values()) < 2e-6, gaps


def test_checkpoints_go_from_servers_to_a_single_device_and_back(one_worker):
    _, result = one_worker
    assert result["restored alone"] == result["restored on servers"] == result["plain"] == 0
    assert result["plain is local"]


def test_what_is_cut_and_where_it_lives(one_worker):
    case, result = one_worker
    assert "token_embedding/embeddings" in result["sharded"] and len(result["sharded"]) > 3
    assert result["slots beside their weights"]
    # Of a table that is only looked up a worker gets rows; a tied one is the output projection too.
    tied = case.startswith("tied")
    assert result["tables"] == ([] if tied else ["token_embedding/embeddings"])
    assert result["reads of tables"] == ([] if tied else ["ResourceGather"])


def check_runs(runs, count):
    assert len(runs) == count
    for run in runs:
        assert run["steps"] == run["updates"] == 80 and run["repeated"] == 0
        # On a busy machine a worker may be late with its gradients, while the loss falls from 3.9.
        assert run["loss"] == pytest.approx(run["synchronous"], rel=0.1)
        assert run["synchronous"] < 3.6  # from 3.9 at the start


@pytest.mark.slow
def test_two_workers_count_every_step_and_reach_the_synchronous_loss(two_workers):
    check_runs(two_workers["runs"], 2)


@pytest.mark.slow
def test_so_do_more_runs(tmp_path):
    check_runs(play("asynchronous_runs", tmp_path), 6)


@pytest.mark.slow
def test_each_worker_has_its_own_part_of_the_data(two_workers):
    assert two_workers["shares"] == [[2, 0], [2, 1]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case,message",
    [
        ("python", "this one runs Python code (from_generator or py_function)"),
        ("generator", "the workers read the data, and a list_iterator is in this process alone"),
        ("metrics", "metrics are not computed under parameter servers"),
        ("on batch", "train_on_batch is not for parameter servers"),
        ("end", "the dataset ended before 9 steps were taken"),
        ("id", "in row 0, column 0 of batch 1 is outside of the model's vocabulary, 0 to 49"),
        ("built", "is built already"),
        ("any model", "Model does not train under parameter servers"),
        ("any model", "; LanguageModel does"),
        ("not finite", "not finite at step 1"),
    ],
)
def test_what_cannot_be_is_told(two_workers, case, message):
    assert message in two_workers["errors"][case]


ADDRESSES = {"chief": ["a:1"], "worker": ["b:2", "c:3"], "ps": ["d:4", "e:5"]}


def tf_config(monkeypatch, cluster, task, index=0):
    config = {"cluster": cluster, "task": {"type": task, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    return read_cluster()


def test_the_tasks_of_a_cluster(monkeypatch):
    cluster = tf_config(monkeypatch, ADDRESSES, "worker", 1)
    assert cluster == Cluster(("a:1", "b:2", "c:3"), 2, "worker", ("d:4", "e:5"), has_chief=True)
    assert (cluster.address, cluster.is_chief, serves_only()) == ("c:3", False, True)
    assert list(cluster.tasks) == ["chief", "worker 0", "worker 1", "ps 0", "ps 1"]
    server = tf_config(monkeypatch, ADDRESSES, "ps", 0)
    assert (server.address, server.is_chief, serves_only()) == ("d:4", False, True)
    chief = tf_config(monkeypatch, ADDRESSES, "chief")
    assert (chief.address, chief.is_chief, serves_only()) == ("a:1", True, False)


@pytest.mark.parametrize(
    "cluster,task,message",
    [
        ({"chief": ["a:1"], "worker": ["b:2"]}, "chief", "needs ps tasks in TF_CONFIG"),
        ({"worker": ["b:2", "c:3"], "ps": ["d:4"]}, "worker", "needs a chief and a worker"),
        ({"chief": ["a:1"], "ps": ["d:4"]}, "chief", "needs a chief and a worker"),
        ({"chief": ["a:1"], "worker": ["b:2"], "ps": ["b:2"]}, "chief", "b:2 is named twice"),
    ],
)
def test_an_unsound_cluster_is_refused(monkeypatch, cluster, task, message):
    with pytest.raises(ConfigError, match=message):
        parameter_server_strategy(tf_config(monkeypatch, cluster, task), 1.0)


def test_a_table_with_a_regularizer_is_read_whole():
    """Its penalty is that of all rows, not of those that a batch looks up."""

    def found(**options):
        ids = keras.Input((4,), dtype="int32")
        table = keras.layers.Embedding(9, 3, **options)
        network = keras.Model(ids, keras.layers.Dense(9)(table(ids)))
        return _looked_up_only(network) == [table]

    assert (
        found()
        and not found(embeddings_regularizer=keras.regularizers.L2(0.1))
        and not found(mask_zero=True)
    )


def test_a_chief_names_who_did_not_come():
    chief, worker, server = free_addresses(3)
    cluster = Cluster((chief, worker), 0, "chief", (server,), has_chief=True)
    with pytest.raises(WorkerLostError, match=f"missing: worker 0 at {worker}, ps 0 at {server}"):
        parameter_server_strategy(cluster, 0.1)


def test_other_strategies_have_no_servers(monkeypatch):
    tf_config(monkeypatch, ADDRESSES, "chief")
    with pytest.raises(
        ConfigError, match="multi_worker has no parameter servers, and TF_CONFIG names 2"
    ):
        _make("multi_worker")
    monkeypatch.delenv("TF_CONFIG")
    with pytest.raises(
        ConfigError, match="parameter_server needs a cluster.*--parameter-servers 1 -- train"
    ):
        _make("parameter_server")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare_data(str(tmp_path_factory.mktemp("served")))


def launched(data, output, steps, kills, *options):
    """Launches a cluster, kills each of `kills` when the run reaches its step; returns the chief at
    each kill, and what was printed."""
    words = ["launch", "--workers", "2", *options, "--max-restarts", str(len(kills)), "--"]
    words += [*train_words(data, output, steps), "--model.tie_embeddings=false"]
    with subprocess.Popen(
        [sys.executable, "-m", "tfscale.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as launcher:
        chiefs = []
        for task, step in kills:
            while last_step(output) < step:
                assert launcher.poll() is None
                time.sleep(0.05)
            processes = cluster_processes(output, launcher.pid)
            chiefs.append(processes["chief"])
            os.kill(processes[task], signal.SIGKILL)
        out, err = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, err[-3000:]
    return chiefs, out, err


def check_run(output, steps, loss, capsys):
    """The run is whole, and its weights are those that were validated."""
    with open(f"{output}/summary.json") as file:
        summary = json.load(file)
    assert summary["completed"] and summary["steps"] == steps
    with open(f"{output}/history.jsonl") as file:
        found = [json.loads(line)["step"] for line in file]
    assert found == sorted(found) and found[-1] == steps
    assert summary["loss"] < loss  # from log(259) = 5.6
    assert cli.main(["evaluate", output, "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out.splitlines()[-1])
    validated = summary["validation"]["nll_per_token"]
    assert evaluated["nll_per_token"] == pytest.approx(validated, abs=1e-5)


@pytest.mark.slow
def test_a_killed_worker_does_not_stop_the_run(data, tmp_path, capsys):
    output = str(tmp_path / "run")
    kills = [("worker 1", 100)]
    _, _, err = launched(data, output, 600, kills, "--parameter-servers", "1")
    assert "launch: worker 1 was ended by SIGKILL; starting it again" in err
    assert "starting all again" not in err  # The worker's death went by the chief.
    check_run(output, 600, 3.0, capsys)


@pytest.mark.slow
def test_a_killed_server_starts_the_run_again(data, tmp_path, capsys):
    output = str(tmp_path / "run")
    kills = [("worker 1", 200), ("ps 0", 600)]
    chiefs, out, err = launched(data, output, 1200, kills, "--parameter-servers", "2")
    assert chiefs[0] == chiefs[1]
    assert "launch: worker 1 was ended by SIGKILL; starting it again" in err
    assert "launch: ps 0 was ended by SIGKILL; starting all again" in err
    assert "the workers were started again 2 times" in out
    check_run(output, 1200, 2.2, capsys)


@pytest.mark.slow
def test_a_server_whose_chief_never_comes_says_so(data, tmp_path):
    worker, server = free_addresses(2)
    cluster = {"chief": ["localhost:1"], "worker": [worker], "ps": [server]}
    environ = {
        "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "ps", "index": 0}}),
        "TFSCALE_STARTUP_SECONDS": "1",
    }
    words = train_words("/nowhere", str(tmp_path / "run"), 10)  # A server needs no data.
    done = subprocess.run(
        [sys.executable, "-m", "tfscale.cli", *words],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error")] == [
        "error: the chief at localhost:1 did not come within 1 s; start it"
    ]
