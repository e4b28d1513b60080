"""Compiles programs for a TPU that is not there. Runs by itself in a Python that has jax and
libtpu, nothing of ours.

    python compiler.py v5e:2x2 train.hlo.pb evaluation.hlo.pb
    python compiler.py v5e:2x2 --replicas=4 train.hlo.pb

Each line of stdout is a JSON object about one file: {"file", "compiled", "error", "arguments",
"aliased", "temporaries", "output", "code", "flops", "all_reduces"}, sizes in bytes. A program for
several replicas runs on as many chips, and its collective operations span them; how many it has is
None where the compiler cannot give back what it made. The compiler may abort the process; what was
printed before stays true.

It uses private interfaces of jax, so the version is pinned (see REQUIREMENTS).
"""

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxlib.mlir import ir

REQUIREMENTS = ("jax==0.10.2", "jaxlib==0.10.2", "libtpu==0.0.52")
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}
"""No question to the metadata server of Google's cloud, and no lock against a second compiler at
the same time."""


def load(path: str) -> "ir.Module":
    """Returns a serialized HLO module of TensorFlow's as StableHLO that the TPU compiler takes."""
    from jax._src.lib import _jax
    from jaxlib.mlir import ir

    with open(path, "rb") as file:
        module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(file.read()))
    copies = []

    def collect(operation: "ir.Operation") -> "ir.WalkResult":
        if operation.name == "mhlo.copy":
            copies.append(operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    # A copy is an identity that StableHLO has no word for.
    for operation in copies:
        operation.results[0].replace_all_uses_with(operation.operands[0])
    for operation in copies:
        operation.erase()
    return module


def main(topology: str, paths: list[str], replicas: int = 1) -> None:
    """Compiles each file for one chip, or as many as replicas, of a topology such as "v5e:2x2"."""
    os.environ.update(
        {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    )
    import numpy as np
    from jax._src import compiler
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax
    from jax.experimental import topologies
    from jaxlib.mlir import ir

    chips = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[:replicas]
    options = compiler.get_compile_options(
        num_replicas=replicas,
        num_partitions=1,
        device_assignment=np.array([[chip.id] for chip in chips]),
        backend=chips[0].client,
    )
    for path in paths:
        result: dict[str, object] = {
            "file": os.path.basename(path),
            "compiled": False,
            "error": None,
        }
        try:
            context = mlir.make_ir_context()
            with context, ir.Location.unknown(context):
                compiled = chips[0].client.compile(
                    load(path),
                    executable_devices=_jax.DeviceList(tuple(chips)),
                    compile_options=options,
                )
            sizes = compiled.get_compiled_memory_stats()
            costs = compiled.cost_analysis()
            costs = costs[0] if isinstance(costs, list) else costs
            result |= {
                "compiled": True,
                "arguments": sizes.argument_size_in_bytes,
                "aliased": sizes.alias_size_in_bytes,
                "temporaries": sizes.temp_size_in_bytes,
                "output": sizes.output_size_in_bytes,
                "code": sizes.generated_code_size_in_bytes,
                "flops": costs.get("flops"),
                "all_reduces": all_reduces(compiled) if replicas > 1 else 0,
            }
        except Exception as error:  # noqa: BLE001 - whatever the compiler says is the result
            result["error"] = str(error)
        print(json.dumps(result), flush=True)


def all_reduces(compiled: Any) -> int | None:
    """Returns how many all-reduce operations a compiled program, of a private class, has.

    None if its text cannot be had: the pinned libtpu writes some asynchronous operations in a form
    that it does not read again.
    """
    from jax.errors import JaxRuntimeError

    try:
        text = compiled.hlo_modules()[0].to_string()
    except JaxRuntimeError:
        return None
    return len(re.findall(r" all-reduce(?:-start)?\(", text))


if __name__ == "__main__":
    counts = [
        int(word.removeprefix("--replicas="))
        for word in sys.argv[2:]
        if word.startswith("--replicas=")
    ]
    files = [word for word in sys.argv[2:] if not word.startswith("--")]
    main(sys.argv[1], files, *counts)
