"""The file of a plan: which shards there are, one JSON object per line, in the order in which they were first seen."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from apache_beam.io.filesystem import FileMetadata

from transforms.errors import UserError
from transforms.records import Shard
from transforms.store import files as store

_SAFE_ID = re.compile("[A-Za-z0-9_-]+")


class PlanError(UserError):
    """The input can't be planned, or a run has lost its plan; the message is one line for the user."""


def read_plan(path: str) -> Iterator[Shard]:
    """Yields the shards of a plan file; none where it does not exist.

    Raises:
      PlanError: it is cut, or not a plan.
    """
    if store.exists(path):
        with store.open_read(path) as file:  # line by line: a million shards take 200 MB
            for number, line in enumerate(file, start=1):
                try:
                    yield _shard(json.loads(line))
                except (ValueError, TypeError, AttributeError, RecursionError) as error:
                    raise PlanError(
                        f"line {number} of the plan {path} is damaged ({error}): restore that file, or delete it, and "
                        "run the same command again, which plans the same files alike"
                    ) from None


def _shard(values: dict[str, Any]) -> Shard:
    """Returns the shard that a line of a plan describes.

    Raises:
      ValueError, TypeError, AttributeError: it describes none.
    """
    sizes = values.get("output_bytes")
    shard = Shard(**(values | {"members": tuple(values.get("members", ())), "output_bytes": sizes and tuple(sizes)}))
    texts = (shard.shard_id, shard.uri, shard.format, shard.version, *shard.members)
    if not all(isinstance(text, str) for text in texts) or type(shard.num_bytes) is not int:
        raise ValueError("a value of the wrong type")
    if not _SAFE_ID.fullmatch(shard.shard_id):
        raise ValueError(f"the shard_id {shard.shard_id!r} is no file name of cambeam's")
    return shard


def read_run_plan(path: str) -> Iterator[Shard]:
    """Yields the shards of a run.

    Raises:
      PlanError: the plan is gone, or on another machine; a run without one would be complete at once.
    """
    if not store.exists(path):
        raise PlanError(
            f"the plan of this run, {path}, is gone, or this worker can't reach it: "
            "run the command again, with an --output that all workers reach"
        )
    return read_plan(path)


def write_plan(path: str, shards: Iterable[Shard], temporary_path: str) -> None:
    """Writes a plan file."""
    lines = (json.dumps(_values(shard), ensure_ascii=False) + "\n" for shard in shards)
    store.write_bytes(path, "".join(lines).encode(errors="backslashreplace"), temporary_path)


def _values(shard: Shard) -> dict[str, Any]:
    values = asdict(shard)
    if shard.output_bytes is None:
        del values["output_bytes"]
    return values


def shard_paths(shard: Shard) -> list[str]:
    """Returns the files that a shard is read from."""
    return [store.join(shard.uri, member) for member in shard.members] or [shard.uri]


def input_version(files: Sequence[FileMetadata]) -> str:
    """Returns what changes when any of the files does: size and modification time, hashed where there are several."""
    parts = [f"{file.size_in_bytes}@{file.last_updated_in_seconds:.6f}" for file in files]
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
