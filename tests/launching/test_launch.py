"""The launcher with workers that only pretend: small programs that succeed, die, hang or ignore signals on cue."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from tfscale.commands import launch as command
from tfscale.config.launching import LaunchConfig
from tfscale.errors import ConfigError, TfscaleError
from tfscale.launching import launcher
from tfscale.launching.group import worker_environments
from tfscale.launching.heartbeat import RESUME_EXIT_CODE
from tfscale.launching.launcher import LaunchError, launch
from tfscale.launching.network import has_private_networks

WORKER = """
import json, os, signal, sys, time
from tfscale.launching.heartbeat import beat
from tfscale.launching.parent import follow_launcher
follow_launcher()
folder = sys.argv[1]
task = json.loads(os.environ.get("TF_CONFIG", '{"task": {"type": "worker", "index": 0}}'))["task"]
index = task["index"] if task["type"] == "worker" else task["type"]
with open(f"{folder}/starts-{index}", "a") as file:
    file.write(f"{os.getpid()} ")
attempt = len(open(f"{folder}/starts-{index}").read().split())
"""
OPEN = not has_private_networks()
"""Many containers do not allow workers a network of their own; these ones listen nowhere."""


@pytest.fixture
def run(tmp_path):
    """Launches workers that run a piece of code after `WORKER`; returns what `launch` returns."""

    def call(code, **options):
        script = tmp_path / "worker.py"
        script.write_text(WORKER + textwrap.dedent(code))
        config = LaunchConfig(
            **{"workers": 2, "grace_seconds": 5.0, "allow_network": OPEN, **options}
        )
        return launch([str(tmp_path)], config, [sys.executable, str(script)])

    return call


def starts(folder, index):
    """Process numbers that a worker (its index), the chief or the server ("chief", "ps") has had."""
    return [int(pid) for pid in (folder / f"starts-{index}").read_text().split()]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def test_all_succeed_and_the_chiefs_output_is_kept(run, tmp_path, capfd):
    result = run(
        """
        beat(1)
        print(f"result of {index}")
        os.write(2, b"one\\nbar 1\\rbar 2\\nnot utf-8: \\xff\\n")
        """,
        log_dir=str(tmp_path / "logs"),
    )
    assert (result.exit_code, result.stdout, result.restarts) == (0, "result of 0\n", 0)
    lines = capfd.readouterr().err.splitlines()
    for index in (0, 1):
        own = [line for line in lines if line.startswith(f"[worker {index}] ")]
        assert [line.removeprefix(f"[worker {index}] ") for line in own] == [
            "one",
            "bar 2",
            "not utf-8: �",
        ]
        log = (tmp_path / "logs" / f"worker-{index}.log").read_bytes()
        assert b"bar 1\rbar 2\n" in log and f"result of {index}\n".encode() in log


def test_when_one_dies_all_are_started_again(run, tmp_path, capfd):
    result = run(
        """
        beat(attempt * 10)
        if index == 1 and attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if attempt == 1:
            time.sleep(60)
        """
    )
    assert (result.exit_code, result.restarts) == (0, 1)
    assert [len(starts(tmp_path, index)) for index in (0, 1)] == [2, 2]
    assert (
        "launch: worker 1 was ended by SIGKILL at step 10; starting all again"
        in capfd.readouterr().err
    )


def test_failures_are_counted_and_the_last_reason_told(run, tmp_path):
    with pytest.raises(
        LaunchError, match=r"worker 0 ended with exit code 1 \(out of luck\); that was failure 3"
    ) as info:
        run(
            'print("error: out of luck", file=sys.stderr)\nsys.exit(1 if index == 0 else 0)',
            max_restarts=2,
        )
    assert info.value.exit_code == 1
    assert len(starts(tmp_path, 0)) == 3


def test_a_mistake_of_the_users_is_final_and_told_once(run, tmp_path, capfd):
    with pytest.raises(TfscaleError, match="^no such data$") as info:
        run('print("error: no such data", file=sys.stderr)\nsys.exit(2)')
    assert info.value.exit_code == 2
    assert len(starts(tmp_path, 0)) == 1
    assert "no such data" not in capfd.readouterr().err


def test_a_worker_that_ignores_sigterm_is_killed(run, tmp_path):
    result = run(
        """
        beat(1)
        if attempt == 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if index == 1:
                time.sleep(0.5)
                sys.exit(1)
            time.sleep(60)
        """,
        grace_seconds=0.5,
    )
    assert result.restarts == 1
    assert not any(alive(pid) for index in (0, 1) for pid in starts(tmp_path, index))


def test_a_stalled_group_is_started_again(run, capfd):
    result = run(
        "beat(7)\ntime.sleep(60 if attempt == 1 and index == 0 else 0)",
        stall_seconds=1.0,
        grace_seconds=1.0,
    )
    assert result.restarts == 1
    assert "worker 0 (at step 7) gave no sign of life for 1 s" in capfd.readouterr().err


@pytest.mark.parametrize("jump", [700, -700])
def test_a_jump_of_the_clock_hangs_nobody_and_hides_nobody(run, monkeypatch, capfd, jump):
    """Worker 0 beats on while the machine's clock jumps; worker 1 is healthy the second time alone."""
    began, real = time.monotonic(), time.time
    monkeypatch.setattr(
        time, "time", lambda: real() + (jump if time.monotonic() - began > 0.5 else 0)
    )
    result = run(
        f"""
        path = os.environ["TFSCALE_HEARTBEAT"]
        for step in range(10):
            beat(step)
            now = time.time() + ({jump} if step > 2 else 0)
            os.utime(path, (now, now))
            time.sleep(60 if attempt == 1 and index == 1 and step == 5 else 0.3)
        """,
        stall_seconds=1.5,
        grace_seconds=1.0,
        max_restarts=1,
    )
    assert (result.exit_code, result.restarts) == (0, 1)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("launch:")]
    assert said == [
        "launch: worker 1 (at step 5) gave no sign of life for 1.5 s; starting all again"
    ]


def test_workers_that_never_begin_are_named(run):
    with pytest.raises(LaunchError, match="worker 1 did not begin to train within 1 s"):
        run(
            "beat(1)\ntime.sleep(60)".replace("beat(1)", "if index == 0: beat(1)"),
            startup_seconds=1.0,
            max_restarts=0,
        )


def test_being_stopped_after_a_checkpoint_is_no_failure_while_there_is_progress(run, tmp_path):
    result = run("beat(attempt)\nsys.exit(75 if attempt < 4 else 0)", max_restarts=0)
    assert (result.exit_code, result.restarts) == (0, 3)
    with pytest.raises(LaunchError, match="wrote a checkpoint; that was failure 1"):
        run("beat(5)\nsys.exit(75)", max_restarts=0)


@pytest.mark.parametrize(
    "number,code",
    [(signal.SIGTERM, RESUME_EXIT_CODE), (signal.SIGHUP, RESUME_EXIT_CODE), (signal.SIGINT, 130)],
)
def test_the_launcher_passes_a_stop_on(tmp_path, monkeypatch, number, code):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    launcher, _ = start_launcher(
        tmp_path, "signal.signal(15, lambda *_: sys.exit(75))\nbeat(3)\ntime.sleep(60)"
    )
    launcher.send_signal(number)
    assert launcher.wait(timeout=20) == code
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not any(alive(pid) for index in (0, 1) for pid in starts(tmp_path, index))


def test_a_closed_terminal_does_not_cost_the_checkpoint(tmp_path):
    """Nobody takes the lines of the workers any more, and they write some before they end."""
    code = """
        def stop(*_):
            for line in range(5000):
                print("saving", file=sys.stderr)
            open(f"{folder}/saved-{index}", "w").close()
            sys.exit(75)
        signal.signal(15, stop)
        beat(3)
        time.sleep(60)
    """
    launcher, _ = start_launcher(tmp_path, code, stderr=subprocess.PIPE)
    launcher.stderr.close()
    launcher.send_signal(signal.SIGHUP)
    assert launcher.wait(timeout=20) == RESUME_EXIT_CODE
    assert all((tmp_path / f"saved-{index}").exists() for index in (0, 1))


def test_a_killed_launcher_leaves_no_orphan(tmp_path):
    launcher, pids = start_launcher(
        tmp_path, "signal.signal(15, signal.SIG_IGN)\nbeat(3)\ntime.sleep(60)"
    )
    assert all(alive(pid) for pid in pids)
    launcher.kill()
    launcher.wait()
    for _ in range(100):
        if not any(alive(pid) for pid in pids):
            break
        time.sleep(0.1)
    assert not any(alive(pid) for pid in pids)


def start_launcher(folder, code, options="", stderr=None):
    """A launcher in a process of its own, and its workers' process numbers once they have begun."""
    (folder / "worker.py").write_text(WORKER + textwrap.dedent(code))
    program = (
        "import sys; from tfscale.config.launching import LaunchConfig; from tfscale.launching.launcher import launch\n"
        f"done = launch([{str(folder)!r}], LaunchConfig({options}grace_seconds=10.0, allow_network={OPEN}), [sys.executable, {str(folder / 'worker.py')!r}])\n"
        "sys.exit(done.exit_code)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program], stderr=stderr)
    for _ in range(200):
        paths = [folder / f"starts-{index}" for index in (0, 1)]
        if all(path.exists() and path.read_text() for path in paths):
            break
        time.sleep(0.1)
    time.sleep(0.5)  # until they have set their signal handlers
    return launcher, [pid for index in (0, 1) for pid in starts(folder, index)]


def test_environments():
    environments = worker_environments(LaunchConfig(workers=3))
    assert list(environments) == ["worker 0", "worker 1", "worker 2"]
    configs = [json.loads(environ["TF_CONFIG"]) for environ in environments.values()]
    assert [config["task"] for config in configs] == [
        {"type": "worker", "index": index} for index in range(3)
    ]
    assert len(set(configs[0]["cluster"]["worker"])) == 3
    assert all(config["cluster"] == configs[0]["cluster"] for config in configs)
    assert "TF_CONFIG" not in worker_environments(LaunchConfig(workers=1))["worker 0"]


def test_environments_with_parameter_servers():
    environments = worker_environments(LaunchConfig(workers=1, parameter_servers=2))
    assert list(environments) == ["chief", "worker 0", "ps 0", "ps 1"]
    configs = [json.loads(environ["TF_CONFIG"]) for environ in environments.values()]
    assert [tuple(config["task"].values()) for config in configs] == [
        ("chief", 0),
        ("worker", 0),
        ("ps", 0),
        ("ps", 1),
    ]
    cluster = configs[0]["cluster"]
    assert {task: len(addresses) for task, addresses in cluster.items()} == {
        "chief": 1,
        "worker": 1,
        "ps": 2,
    }
    assert len({address for addresses in cluster.values() for address in addresses}) == 4
    assert all(config["cluster"] == cluster for config in configs)


SERVED = """
chief = index == "chief"
def serve():
    beat(-1)
    time.sleep(60)
"""


def test_a_worker_of_parameter_servers_is_started_again_alone(run, tmp_path, capfd):
    result = run(
        SERVED
        + """
if chief:
    beat(5)
    while not os.path.exists(f"{folder}/second"):
        time.sleep(0.05)
    print("done")
elif index == 1 and attempt == 1:
    beat(-1)
    os.kill(os.getpid(), signal.SIGKILL)
elif index == 1:
    open(f"{folder}/second", "w").close()
    serve()
else:
    serve()
""",
        parameter_servers=1,
    )
    assert (result.exit_code, result.stdout, result.restarts) == (0, "done\n", 1)
    assert [len(starts(tmp_path, name)) for name in ("chief", 0, 1, "ps")] == [1, 1, 2, 1]
    assert "launch: worker 1 was ended by SIGKILL; starting it again" in capfd.readouterr().err
    assert not any(alive(pid) for name in ("chief", 0, 1, "ps") for pid in starts(tmp_path, name))


@pytest.mark.parametrize("dies", ["chief", "ps"])
def test_a_server_or_the_chief_takes_all_with_it(run, tmp_path, capfd, dies):
    result = run(
        SERVED
        + f"""
def begun(name):
    path = f"{{folder}}/starts-{{name}}"
    return os.path.exists(path) and len(open(path).read().split()) >= attempt
beat(-1)
while not all(begun(name) for name in ("chief", 0, 1, "ps")):
    time.sleep(0.05)
if index == {dies!r} and attempt == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if chief and attempt == 2:
    sys.exit(0)
serve()
""",
        parameter_servers=1,
        grace_seconds=1.0,
    )
    assert (result.exit_code, result.restarts) == (0, 1)
    assert [len(starts(tmp_path, name)) for name in ("chief", 0, 1, "ps")] == [2, 2, 2, 2]
    name = "ps 0" if dies == "ps" else "chief"
    assert f"launch: {name} was ended by SIGKILL; starting all again" in capfd.readouterr().err


def test_workers_of_parameter_servers_are_not_started_again_for_ever(run, tmp_path):
    with pytest.raises(LaunchError, match=r"worker 0 was ended by SIGKILL; that was failure 3"):
        run(
            SERVED + "if index == 0: os.kill(os.getpid(), signal.SIGKILL)\nserve()",
            parameter_servers=1,
            max_restarts=2,
            grace_seconds=1.0,
        )
    assert len(starts(tmp_path, 0)) == 3 and len(starts(tmp_path, "chief")) == 1


def test_a_stop_goes_to_the_chief_alone_and_servers_stay_until_it_is_done(tmp_path):
    """The chief needs the servers for its last checkpoint."""
    launcher, _ = start_launcher(
        tmp_path,
        SERVED
        + """
def stop(*_):
    time.sleep(1.0)
    for name in (0, 1, "ps"):
        os.kill(int(open(f"{folder}/starts-{name}").read()), 0)
    sys.exit(75)
if chief:
    signal.signal(15, stop)
serve()
""",
        "parameter_servers=1, ",
    )
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(timeout=20) == RESUME_EXIT_CODE
    assert not any(alive(pid) for name in ("chief", 0, 1, "ps") for pid in starts(tmp_path, name))


def test_a_taken_port_is_named_before_anything_starts(tmp_path):
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is taken"):
            launch(
                [],
                LaunchConfig(workers=2, port_base=port - 1, allow_network=OPEN),
                [sys.executable, "-c", f"open({str(tmp_path / 'x')!r}, 'w')"],
            )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "words,message",
    [
        (
            ["--", "train", "--data", "gs://b/d", "--output", "r"],
            "gs://b/d is on the network, .*give --allow-network",
        ),
        ([], "launch runs train: .*nothing stands there"),
        (["--", "prepare", "--output", "d"], "launch runs train: .*received 'prepare'"),
        (["train"], "unexpected 'train'; the command of the workers stands after --"),
        (
            ["--workers", "0", "--", "train", "--data", "d", "--output", "r"],
            "workers=0 is out of range",
        ),
        (["--worker", "2", "--", "train"], "did you mean --workers"),
        (["--", "train", "--data", "d"], "--output must be given"),
        (
            ["--", "train", "--model.family", "ngram", "--data", "d", "--output", "r"],
            "n-grams are counted by one process",
        ),
        (
            ["--", "train", "--data", "d", "--output", "r", "--train.strategy", "single"],
            "single does not train in 2 workers and 0 parameter servers together; leave it out, or give multi_worker",
        ),
        (
            [
                "--parameter-servers",
                "1",
                "--",
                "train",
                "--data",
                "d",
                "--output",
                "r",
                "--train.strategy=multi_worker",
            ],
            "or give parameter_server",
        ),
        (
            ["--", "train", "--data", "d", "--output", "r", "--train.step", "3"],
            "did you mean --train.steps",
        ),
    ],
)
def test_mistakes_are_named(words, message):
    with pytest.raises(ConfigError, match=message):
        options = command.COMMAND.parse(words)
        command.build_config(LaunchConfig, options)


def test_the_command_returns_the_chiefs_summary(monkeypatch, capsys):
    given = []

    def fake(words, config):
        given.append((words, config.workers))
        return launcher.Launched(0, '{"steps": 3}\n', 1)

    monkeypatch.setattr(launcher, "launch", fake)
    result = command.COMMAND.run(
        command.COMMAND.parse(["--workers", "3", "--", "train", "--data", "d", "--output", "r"])
    )
    assert result == {"steps": 3, "restarts": 1, "exit_code": 0}
    assert given == [(["train", "--data", "d", "--output", "r", "--json"], 3)]
