"""What this machine computes on, and in which precision it does so best."""

import contextlib
import functools
import logging
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

from transforms.worker.threads import num_cores

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_logger = logging.getLogger("cambeam")


class Device(NamedTuple):
    """The device of this process and the precision chosen for it.

    Attributes:
      name: for people, e.g. "AMD EPYC 9B45, 2 cores".
      is_gpu: XLA and fixed batch shapes pay there.
      precision: "float32", "bfloat16" or "float16".
      reason: why this precision.
    """

    name: str
    is_gpu: bool
    precision: str
    reason: str


@functools.cache
def configure_tensorflow() -> None:
    """Sets TensorFlow's threads and memory, once per process and before anything runs on it.

    Each operation gets one thread, since batches in parallel are faster than operations in parallel (see
    `engine.Engine`), and the threads of an operation can't be changed once TensorFlow has started.
    """
    with _quiet_start():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(num_cores())
        tf.config.experimental.enable_tensor_float_32_execution(False)  # GPUs would round float32 to 10 bits
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Drops what TensorFlow writes to stderr while it starts, which no setting silences, where logs are not wanted."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def resolve(precision: str) -> Device:
    """Finds the device, and the precision for it where that is "auto"."""
    configure_tensorflow()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1:
        _logger.warning(
            "1 of %d GPUs is used: for the others, start runs of other shards into the same output, each with its own "
            "CUDA_VISIBLE_DEVICES",
            len(gpus),
        )
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability = details.get("compute_capability", (0, 0))
        best = "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
        name, why = details.get("device_name", "GPU"), f"compute capability {capability[0]}.{capability[1]}"
    else:
        model, flags = _cpu()
        extensions = sorted(flags & {"amx_bf16", "avx512_bf16"})
        best = "bfloat16" if extensions else "float32"
        name = f"{model}, {num_cores()} cores"
        why = f"the processor has {' and '.join(extensions)}" if extensions else "the processor has no bfloat16"
    if precision != "auto":
        best, why = precision, "as configured"
    return Device(name, bool(gpus), best, why)


def _cpu() -> tuple[str, set[str]]:
    """Returns the processor's name and its flags; on systems without /proc, none."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return fields.get("model name", "CPU"), set(fields.get("flags", "").split())
