"""Reading an output: its finished shards, and their rows in the order of the plan."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output import UsageError
from pipeline.plan import read_plan
from transforms import store
from transforms.layout import Layout
from transforms.records import Shard, ShardDone
from transforms.threads import thread_pool

_ROWS_AT_A_TIME = 4096


class Output(NamedTuple):
    """An output folder.

    Attributes:
      planned: its shards, in the order of the plan.
      done: the totals of those that are finished, by shard id.
    """

    layout: Layout
    planned: list[Shard]
    done: dict[str, ShardDone]

    @property
    def finished(self) -> list[Shard]:
        """The shards that have rows to read, in the order of the plan."""
        return [shard for shard in self.planned if shard.shard_id in self.done]


def open_output(path: str) -> Output:
    """Lists the shards of an output.

    Raises:
      UsageError: the folder is not the output of a run.
    """
    layout = Layout(path)
    planned = list(read_plan(layout.plan))
    if not planned:
        raise UsageError(f"{path!r} is not the output of a run: it has no {layout.plan}")
    marked = set(layout.marked())
    paths = [layout.marker(shard.shard_id) for shard in planned if shard.shard_id in marked]
    markers = thread_pool("read").map(store.read_json, paths)
    done = [ShardDone(**marker) for marker in markers if marker]
    return Output(layout, planned, {totals.shard_id: totals for totals in done})


def read_rows(layout: Layout, shard: Shard, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a finished shard, some thousands at a time.

    Args:
      columns: what to read; a field within a nested column by its path in the file, "predictions.list.element.rank".
        Those that the file does not have are left out.
    """
    with store.open_read(layout.images(shard.shard_id)) as file:
        yield from pq.ParquetFile(file).iter_batches(_ROWS_AT_A_TIME, columns=list(columns))


def has_consistency(output: Output) -> bool:
    """Tells whether the consistency of the rows was measured, which takes the maps of mirrored images."""
    settings = store.read_json(output.layout.settings) or {}
    return bool(settings.get("config", {}).get("cam", {}).get("flip"))


def class_names(output: Output) -> list[str]:
    """Returns the names of all the model's classes.

    Outputs of early versions do not hold them; there the rows tell, and a class that no row has is "class_<index>".
    """
    names = store.read_json(output.layout.class_names)
    if names is not None:
        return names
    found: dict[int, str] = {}
    paths = [f"predictions.list.element.{field}" for field in ("class_index", "class_name")]
    for shard in output.finished:
        for batch in read_rows(output.layout, shard, paths):
            predictions = batch["predictions"].flatten()
            found.update(zip(*(predictions.field(i).to_pylist() for i in range(2)), strict=True))
    return [found.get(index, f"class_{index}") for index in range(max(found, default=-1) + 1)]
