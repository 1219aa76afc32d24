"""The peak memory of a call."""

import pathlib
import re
from collections.abc import Callable
from typing import Any

_STATUS, _CLEAR = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # see proc(5)


def peak_bytes(call: Callable[[], Any], on_gpu: bool = False) -> int | None:
    """Returns the peak of this process's memory during a call; None where the system doesn't tell.

    All of it, model and libraries included: a difference would miss what allocators keep of earlier calls.

    Args:
      on_gpu: measures the memory of the first GPU instead.
    """
    if on_gpu:
        import tensorflow as tf

        tf.config.experimental.reset_memory_stats("GPU:0")
        call()
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    try:
        _CLEAR.write_text(_RESET_PEAK)
        call()
        found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:  # not Linux
        return None
    return int(found[1]) * 1024 if found else None
