"""The file of a plan: which shards there are, one JSON object per line, in the order in which they were first seen."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from apache_beam.io.filesystem import FileMetadata

from transforms.errors import UserError
from transforms.records import Shard
from transforms.store import files as store


class PlanError(UserError):
    """The input can't be planned, or a run has lost its plan; the message is one line for the user."""


def read_plan(path: str) -> Iterator[Shard]:
    """Yields the shards of a plan file; none where it does not exist."""
    if store.exists(path):
        with store.open_read(path) as file:  # line by line: a million shards take 200 MB
            for line in file:
                values = json.loads(line)
                yield Shard(**(values | {"members": tuple(values["members"])}))


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
    lines = (json.dumps(asdict(shard), ensure_ascii=False) + "\n" for shard in shards)
    store.write_bytes(path, "".join(lines).encode(errors="backslashreplace"), temporary_path)


def shard_paths(shard: Shard) -> list[str]:
    """Returns the files that a shard is read from."""
    return [store.join(shard.uri, member) for member in shard.members] or [shard.uri]


def input_version(files: Sequence[FileMetadata]) -> str:
    """Returns what changes when any of the files does: size and modification time, hashed where there are several."""
    parts = [f"{file.size_in_bytes}@{file.last_updated_in_seconds:.6f}" for file in files]
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
