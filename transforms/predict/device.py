"""What this machine computes on, and in which precision its processor does so best."""

import pathlib
from typing import NamedTuple

from transforms.worker.threads import num_cores

_CPUINFO = pathlib.Path("/proc/cpuinfo")


class Device(NamedTuple):
    """The device of this process and the precision chosen for it.

    Attributes:
      name: for people, e.g. "AMD EPYC 9B45, 2 cores".
      is_gpu: whether it is a GPU.
      precision: "float32", "bfloat16" or "float16".
      reason: why this precision.
    """

    name: str
    is_gpu: bool
    precision: str
    reason: str


def cpu(precision: str = "auto", cpuinfo: pathlib.Path = _CPUINFO) -> Device:
    """Returns the processor.

    Args:
      precision: to be used; "auto" takes bfloat16 where the processor has instructions for it, else float32.
      cpuinfo: where Linux describes the processor; a system without this file is taken to have no bfloat16.
    """
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = f"{fields.get('model name', 'CPU')}, {num_cores()} cores"
    if precision != "auto":
        return Device(name, False, precision, "as configured")
    extensions = sorted({"amx_bf16", "avx512_bf16"} & set(fields.get("flags", "").split()))
    if extensions:
        return Device(name, False, "bfloat16", f"the processor has {' and '.join(extensions)}")
    return Device(name, False, "float32", "the processor has no bfloat16")
