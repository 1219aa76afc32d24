"""What TensorFlow computes on: its threads and memory, and the precision that a GPU does best in."""

import contextlib
import functools
import logging
import os
import re
import sys
from collections.abc import Iterator

from transforms.predict import device
from transforms.predict.device import Device
from transforms.worker.threads import num_cores

_logger = logging.getLogger("cambeam")


@functools.cache
def configure_tensorflow() -> None:
    """Sets TensorFlow's threads and memory, once per process and before anything runs on it.

    Each operation gets one thread, since batches in parallel are faster than operations in parallel (see
    `pieces.in_parallel`), and the threads of an operation can't be changed once TensorFlow has started.
    """
    with _quiet_start():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(num_cores())
        tf.config.experimental.enable_tensor_float_32_execution(False)  # GPUs would round float32 to 10 bits
        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        if gpus:
            tf.config.set_visible_devices(gpus[own_gpu(len(gpus))], "GPU")


def own_gpu(count: int) -> int:
    """Returns which of a machine's GPUs this process uses: Beam numbers its processes, and they take GPUs in turn."""
    number = _worker_number()
    return 0 if number is None else number % count


def _worker_number() -> int | None:
    found = re.search(r"\d+$", os.environ.get("WORKER_ID", ""))
    return int(found[0]) if found else None


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
    """Returns this process's GPU, or else the processor, and the precision for it where that is "auto"."""
    configure_tensorflow()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return device.cpu(precision)
    if len(gpus) > 1 and _worker_number() is None:
        _logger.warning(
            "1 of %d GPUs is used: --direct_running_mode=multi_processing --direct_num_workers=%d uses them all",
            *(len(gpus), len(gpus)),
        )
    details = tf.config.experimental.get_device_details(gpus[own_gpu(len(gpus))])
    name, capability = details.get("device_name", "GPU"), details.get("compute_capability", (0, 0))
    if precision != "auto":
        return Device(name, True, precision, "as configured")
    best = "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    return Device(name, True, best, f"compute capability {capability[0]}.{capability[1]}")
