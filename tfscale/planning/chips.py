"""Published figures of the chips that a training may run on, and a measurement of this machine's
processor."""

import functools
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfscale.config import NetworkConfig

GB = 10**9
TERA = 10**12


@dataclass(frozen=True)
class Chip:
    """One device.

    `peak` and `peak_float32` are dense matrix products per second in bfloat16 (or float16) and in
    float32, in FLOP/s; `memory` bytes; `bandwidth` of that memory in bytes/s. `local_links` and
    `network` are what one device contributes to an all-reduce, in bytes/s in one direction: among
    the `node` devices of a node, and between nodes. `utilization` is the share of the peak that
    matrix products of a real model reach.
    """

    name: str
    peak: float
    peak_float32: float
    memory: float
    bandwidth: float
    node: int
    local_links: float
    network: float
    utilization: float
    source: str


UTILIZATION = 0.4
"""Assumed for accelerators: published large runs reach 0.3 to 0.55 (PaLM: 0.46, Chowdhery et al.
2022). tfscale itself was not measured on any of them; give --utilization once you have a figure of
your own."""

_TPU_DOCS = "docs.cloud.google.com/tpu/docs, read 2026-11-25"


def _tpu(
    name: str, peak: float, memory: float, bandwidth: float, node: int, links: float, network: float
) -> Chip:
    # float32 runs as several bfloat16 passes.
    source = f"{_TPU_DOCS}/{name}"
    return Chip(name, peak, peak / 6, memory, bandwidth, node, links, network, UTILIZATION, source)


CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        # NVLink 900 GB/s and 600 GB/s count both directions; the network is that of a DGX, one
        # adapter per GPU of 400 Gb/s and 200 Gb/s. A ring over several nodes uses all adapters of a
        # node at once. float32 products are computed in TF32, which is TensorFlow's default.
        Chip(
            "h100",
            989 * TERA,
            494.5 * TERA,
            80 * GB,
            3350 * GB,
            8,
            450 * GB,
            50 * GB,
            UTILIZATION,
            "NVIDIA H100 SXM datasheet (dense figures, without sparsity) and DGX H100 user guide,"
            " 2023",
        ),
        Chip(
            "a100",
            312 * TERA,
            156 * TERA,
            80 * GB,
            2039 * GB,
            8,
            300 * GB,
            25 * GB,
            UTILIZATION,
            "NVIDIA A100 80 GB SXM datasheet and DGX A100 user guide, 2021",
        ),
        # Inter-chip links are quoted for both directions (400, 1200 and 800 GB/s halved and, for
        # v5e and v6e, equal to the published all-reduce bandwidth of a pod over its 256 chips).
        _tpu("v5e", 197 * TERA, 16 * GB, 819 * GB, 256, 200 * GB, 3.1 * GB),
        _tpu("v5p", 459 * TERA, 95 * GB, 2765 * GB, 8960, 300 * GB, 3.1 * GB),
        _tpu("v6e", 918 * TERA, 32 * GB, 1640 * GB, 256, 400 * GB, 12.5 * GB),
    )
}


def measure_cpu(model: NetworkConfig, rows: int, sequence_length: int) -> Chip:
    """This machine as a chip: the rate of matrix products of the model's own shapes, and of copying
    memory.

    Args:
        model: whose matrix products are timed, about a second of them.
        rows: sequences of a micro-batch.
        sequence_length: tokens of each.
    """
    flops = seconds = 0.0
    rng = np.random.default_rng(0)
    for m, k, n in sorted(set(model.matmul_shapes(min(rows * sequence_length, 4096)))):
        a, b = rng.random((m, k), np.float32), rng.random((k, n), np.float32)
        seconds += _best(functools.partial(np.matmul, a, b))
        flops += 2.0 * m * k * n
    source = np.ones(16 * 2**20, np.float32)
    target = np.empty_like(source)
    copy = _best(lambda: np.copyto(target, source))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rate, bandwidth = flops / seconds, 2 * source.nbytes / copy
    return Chip(
        "cpu",
        rate,
        rate,
        memory,
        bandwidth,
        1,
        math.inf,
        1.25 * GB,
        1.0,
        "measured at start; 10 Gb/s Ethernet assumed between machines",
    )


def _best(function: Callable[[], object], seconds: float = 0.15) -> float:
    """Returns seconds of the fastest of several calls, at least two."""
    function()
    best, end = math.inf, time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        function()
        now = time.perf_counter()
        best = min(best, now - began)
        if now >= end:
            return best
