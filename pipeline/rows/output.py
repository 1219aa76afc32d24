"""Reading an output: its finished shards, and their rows in the order of the plan."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import UserError
from transforms.output.layout import Layout
from transforms.output.plan import read_plan
from transforms.records import Shard, ShardDone
from transforms.store import files as store
from transforms.worker.threads import thread_pool

_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Output:
    """An output folder.

    Attributes:
      planned: its shards, in the order of the plan.
      done: the totals of those that are finished, by shard id, in the same order.
    """

    layout: Layout
    planned: list[Shard]
    done: dict[str, ShardDone]

    @property
    def with_rows(self) -> list[Shard]:
        """The finished shards that have rows to read, in the order of the plan."""
        written = {totals.shard_id for totals in self.done.values() if totals.written}
        return [shard for shard in self.planned if shard.shard_id in written]

    @property
    def complete(self) -> bool:
        """Whether everything planned is done, and not too much was rejected."""
        return store.exists(self.layout.success)

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that made the rows."""
        return store.read_json(self.layout.settings) or {}

    @functools.cached_property
    def summary(self) -> dict[str, Any]:
        """The totals of the last run; empty where none has ended."""
        return store.read_json(self.layout.summary) or {}


def open_output(path: str) -> Output:
    """Lists the shards of an output.

    Raises:
      UserError: the folder is not the output of a run.
    """
    layout = Layout(path)
    planned = list(read_plan(layout.plan))
    if not planned:
        raise UserError(f"{path!r} is not the output of a run: it has no {layout.plan}")
    marked = set(layout.marked())
    paths = [layout.marker(shard.shard_id) for shard in planned if shard.shard_id in marked]
    markers = thread_pool("read").map(store.read_json, paths)
    done = [ShardDone(**marker) for marker in markers if marker]
    return Output(layout, planned, {totals.shard_id: totals for totals in done})


@contextlib.contextmanager
def open_parquet(path: str) -> Iterator[pq.ParquetFile]:
    """Opens a Parquet file.

    Raises:
      UserError: it is none, or damaged; so it is found while it is open.
    """
    with store.open_read(path) as file:
        try:
            yield pq.ParquetFile(file)
        except (pa.ArrowException, OSError, ValueError) as error:
            if getattr(error, "errno", None) is not None:
                raise  # the store or the disk failed
            raise UserError(f"{path} can't be read: {' '.join(str(error).split())}") from error


def row_batches(
    layout: Layout, shard: Shard, columns: Sequence[str], batch_rows: int = _ROWS_AT_A_TIME
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a shard that has some, `batch_rows` at a time.

    Args:
      columns: what to read; a field within a nested column by its path in the file, "predictions.list.element.rank".
        Those that the file does not have are left out.
    """
    with open_parquet(layout.images(shard.shard_id)) as file:
        yield from file.iter_batches(batch_rows, columns=list(columns))


def has_consistency(output: Output) -> bool:
    """Tells whether the consistency of the rows was measured, which takes the maps of mirrored images."""
    return bool(output.settings.get("config", {}).get("cam", {}).get("flip"))


def class_names(output: Output) -> list[str]:
    """Returns the names of all the model's classes.

    Outputs of early versions do not hold them; there the rows tell, and a class that no row has is "class_<index>".
    """
    names = store.read_json(output.layout.class_names)
    if names is not None:
        return names
    found: dict[int, str] = {}
    paths = [f"predictions.list.element.{field}" for field in ("class_index", "class_name")]
    for shard in output.with_rows:
        for batch in row_batches(output.layout, shard, paths):
            predictions = batch["predictions"].flatten()
            found.update(zip(*(predictions.field(i).to_pylist() for i in range(2)), strict=True))
    return [found.get(index, f"class_{index}") for index in range(max(found, default=-1) + 1)]
