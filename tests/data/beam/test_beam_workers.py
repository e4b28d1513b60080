"""Workers in processes of their own, of which one is killed."""

import threading
import time

import pytest

from tests.data.beam.cluster import Cluster
from tests.data.beam.comparing import by_beam, messy, prepared, write_paragraphs, write_records
from tfscale.data.beam import pipeline as pipeline_module
from tfscale.data.beam.folder import BUSY, WorkFolder
from tfscale.errors import EngineError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    text = [
        write_paragraphs(folder / "a.txt", messy(300)),
        write_records(folder / "b.jsonl.gz", messy(200, 100)),
        *(write_paragraphs(folder / f"{n}.txt", messy(30, 1000 * n)) for n in range(6)),
    ]
    return {
        "text": text,
        "documents": "paragraph",
        "tokenizer": "word",
        "near_duplicates": 0.8,
        "drop_duplicates": True,
    }


@pytest.fixture(scope="module")
def local(options, tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("local") / "data", **options)


def test_processes_of_the_direct_runner(options, local, tmp_path, capfd):
    processes = {"direct_running_mode": "multi_processing", "direct_num_workers": 2}
    assert by_beam(tmp_path / "data", processes, **options) == local
    assert "INFO" not in capfd.readouterr().err


def test_two_pools_and_a_job_service(options, local, tmp_path, monkeypatch):
    """One pool is killed while its worker works; the same command then gives the same bytes."""
    monkeypatch.setattr(pipeline_module, "LATER", 6.0)
    with Cluster() as cluster:
        assert by_beam(tmp_path / "data", cluster.beam, **options) == local
    with Cluster() as cluster:
        killed = threading.Event()

        def kill():
            for _ in range(6000):
                found = [WorkFolder(str(work)) for work in tmp_path.glob("again.tmp-*/work")]
                if any(len(work.files(BUSY)) > 1 for work in found):
                    break
                time.sleep(0.002)
            cluster.kill(cluster.pools[0])
            killed.set()

        threading.Thread(target=kill, daemon=True).start()
        with pytest.raises(EngineError, match="pipeline of Apache Beam failed: .*worker") as error:
            by_beam(tmp_path / "again", cluster.beam, **options)
        assert killed.is_set()
        assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    with Cluster() as cluster:
        assert by_beam(tmp_path / "again", cluster.beam, **options) == local
