"""The example files: what they describe is read as a worker would read it, and their commands are real ones."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from tfscale.commands import train
from tfscale.distribution.cluster import read_cluster

CLUSTERS = Path("examples/clusters")


def check_command(words):
    """Parses `tfscale train ...` as the command line would."""
    assert words[:2] == ["tfscale", "train"]
    return train.COMMAND.parse(words[2:])


def commands_of(script):
    """The `tfscale` commands of a shell script."""
    text = script.read_text().replace("\\\n", " ")
    return [shlex.split(match[1]) for match in re.finditer(r"(tfscale train [^;&|\n]*)", text)]


@pytest.mark.parametrize("name", ["two_machines.sh", "slurm.sbatch", "tpu_vm_pod.sh"])
def test_scripts_are_sound_shell_with_real_commands(name):
    subprocess.run(["bash", "-n", CLUSTERS / name], check=True)
    found = [words for words in commands_of(CLUSTERS / name)]
    assert found
    for words in found:
        assert check_command(words).train.steps > 0


@pytest.mark.parametrize("index", [0, 1])
def test_two_machines(index):
    text = (CLUSTERS / "two_machines.sh").read_text()
    assignment = re.search(r"export TF_CONFIG='.*?\}'\n", text, re.DOTALL)[0]
    shown = subprocess.run(
        ["bash", "-c", f'index={index}; {assignment} printf %s "$TF_CONFIG"'],
        capture_output=True,
        text=True,
        check=True,
    )
    cluster = read_cluster({"TF_CONFIG": shown.stdout})
    assert (
        cluster.workers == ("host0.example.com:2222", "host1.example.com:2222")
        and cluster.index == index
    )


def test_slurm():
    text = (CLUSTERS / "slurm.sbatch").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)", text, re.MULTILINE))
    nodes, tasks = int(options["nodes"]), int(options["ntasks-per-node"])
    environ = {
        "SLURM_STEP_NUM_TASKS": str(nodes * tasks),
        "SLURM_PROCID": "3",
        "SLURM_STEP_NODELIST": "node[1-4]",
        "SLURM_STEP_TASKS_PER_NODE": f"{tasks}(x{nodes})",
    }
    cluster = read_cluster(environ)
    assert len(cluster.workers) == nodes * tasks and cluster.address == "node4:12345"
    assert options["signal"].startswith("TERM@") and "#SBATCH --requeue" in text


def test_kubernetes():
    service, job = yaml.safe_load_all((CLUSTERS / "kubernetes.yaml").read_text())
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    spec = job["spec"]
    pod = spec["template"]["spec"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    assert pod["subdomain"] == service["metadata"]["name"]
    (container,) = pod["containers"]
    environ = {entry["name"]: entry["value"] for entry in container["env"]}
    for index in range(spec["completions"]):
        cluster = read_cluster({**environ, "JOB_COMPLETION_INDEX": str(index)})
        # A pod of an Indexed Job is JOB-INDEX, and the headless service makes it JOB-INDEX.SERVICE.
        assert (
            cluster.address
            == f"{job['metadata']['name']}-{index}.{service['metadata']['name']}:2222"
        )
        assert len(cluster.workers) == spec["completions"]
    assert container["ports"] == [{"containerPort": 2222}]
    actions = {
        rule["action"]: rule["onExitCodes"]["values"] for rule in spec["podFailurePolicy"]["rules"]
    }
    assert actions == {"FailJob": [2], "Ignore": [75]} and pod["restartPolicy"] == "Never"
    check_command(container["command"] + container["args"])


def test_vertex():
    pools = yaml.safe_load((CLUSTERS / "vertex.yaml").read_text())["workerPoolSpecs"]
    assert [pool["replicaCount"] for pool in pools] == [1, 3]
    for pool in pools:
        check_command(pool["containerSpec"]["command"] + pool["containerSpec"]["args"])
    cluster = {
        "chief": ["c:2222"],
        "worker": [f"w{i}:2222" for i in range(pools[1]["replicaCount"])],
    }
    config = json.dumps(
        {"cluster": cluster, "task": {"type": "worker", "index": 2}, "environment": "cloud"}
    )
    assert read_cluster({"TF_CONFIG": config}).index == 3


def test_tpu_vm_pod():
    """Installed as the notebook does it, and started with the name by which `tpu_strategy` connects."""
    text = (CLUSTERS / "tpu_vm_pod.sh").read_text()
    notebook = json.loads(Path("notebooks/tpu_colab.ipynb").read_text())
    source = "".join(line for cell in notebook["cells"] for line in cell["source"])
    packages = [set(shlex.split(line)) for line in re.findall(r"%pip install (.*)", source)]
    for line in re.findall(r"^  pip install (.*)$", text, re.MULTILINE):
        wanted = set(shlex.split(line)) - {"./tfscale"}
        assert any(wanted <= line for line in packages), wanted
    assert re.search(r"export TPU_NAME=\$NAME TPU_LOAD_LIBRARY=0\n\s+tfscale train", text)
    (command,) = commands_of(CLUSTERS / "tpu_vm_pod.sh")
    assert check_command(command).train.strategy == "tpu"


def test_the_documentation_names_every_example():
    text = Path("docs/clusters.md").read_text()
    for path in CLUSTERS.iterdir():
        assert f"examples/clusters/{path.name}" in text
