"""A file is timed in a process that runs it and nothing else."""

import json
import subprocess
import sys


def test_a_process_of_its_own_prints_the_figures(exported):
    words = [sys.executable, "-m", "tfscale.device.timing_process", str(exported.directory), "1"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["decode_tokens_per_second"] > 0 and figures["peak_rss_bytes"] > 1 << 20
