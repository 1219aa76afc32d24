"""Reads an output: its finished shards, and their rows in the order of the plan."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import UserError
from transforms.output.commit import read_marker
from transforms.output.layout import Layout
from transforms.output.plan import read_plan
from transforms.records import Shard, ShardDone
from transforms.store import files as store
from transforms.worker.threads import thread_pool

_BATCH_ROWS = 4096


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
        return _mapping(self.layout.settings)

    @functools.cached_property
    def summary(self) -> dict[str, Any]:
        """The totals of the last run; empty before the first has ended."""
        return _mapping(self.layout.summary)

    @functools.cached_property
    def class_names(self) -> list[str]:
        """The names of all the model's classes, by index.

        Raises:
          UserError: their file is gone.
        """
        names = store.read_json(self.layout.class_names)
        if names is None:
            raise UserError(f"{self.layout.class_names}, which a run writes, is gone: run the same command again")
        return names

    @property
    def has_consistency(self) -> bool:
        """Whether the rows hold how consistent they are with those of mirrored images."""
        return bool(self.settings.get("config", {}).get("cam", {}).get("flip"))

    def batches(
        self, columns: Sequence[str], shards: Sequence[Shard] | None = None, batch_rows: int = _BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Yields the rows, a few at a time, in the order of the plan.

        Args:
          columns: what to read, see `predictions.prediction_columns` for parts of the predictions. A column that a
            file does not have is left out.
          shards: some of `with_rows`; None reads all of them.
        """
        for shard in self.with_rows if shards is None else shards:
            with open_parquet(self.layout.images(shard.shard_id)) as file:
                yield from file.iter_batches(batch_rows, columns=list(columns))


def _mapping(path: str) -> dict[str, Any]:
    """Returns the JSON object that a file holds; empty where there is no file.

    Raises:
      UserError: it holds something else.
    """
    values = store.read_json(path)
    if not isinstance(values, dict | None):
        raise UserError(f"{path} is damaged: restore it, or delete it and run the same command again")
    return values or {}


def open_output(path: str) -> Output:
    """Opens an output and lists its shards.

    Raises:
      UserError: the folder is not the output of a run.
    """
    layout = Layout(path)
    planned = list(read_plan(layout.plan))
    if not planned:
        raise UserError(f"{path!r} is not the output of a run: it has no {layout.plan}")
    marked = set(layout.marked())
    ids = [shard.shard_id for shard in planned if shard.shard_id in marked]
    markers = thread_pool("read").map(functools.partial(read_marker, layout), ids)
    done = [marker for marker in markers if marker and marker.is_whole]
    return Output(layout, planned, {totals.shard_id: totals for totals in done})


@contextlib.contextmanager
def open_parquet(path: str) -> Iterator[pq.ParquetFile]:
    """Opens a Parquet file.

    Raises:
      UserError: the file is damaged, or not Parquet at all, whether that shows at once or while it is read.
    """
    with store.open_read(path) as file:
        try:
            yield pq.ParquetFile(file)
        except (pa.ArrowException, OSError, ValueError) as error:
            if getattr(error, "errno", None) is not None:
                raise  # the store or the disk failed
            raise UserError(f"{path} can't be read: {' '.join(str(error).split())}") from error
