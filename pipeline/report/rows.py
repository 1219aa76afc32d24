"""The rows of an output folder for a report: light columns of all of them, bulky ones of a few, both streamed."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.rows.output import Output, open_parquet, row_batches
from transforms.store import files as store

_BATCH_ROWS = 32768
_BOX_SIDES = ("x0", "y0", "x1", "y1")
_COLUMNS = ["sha256", "width", "height", "label", "class_index", "class_name", "probability", "box", "consistency"]


class Rows(NamedTuple):
    """All rows of an output as columns of length n, in the order of its shards.

    Attributes:
      image: (n,) uint64, the first 64 bits of the image's sha256.
      class_index, label: (n,) int32; -1 where there is no label.
      probability, area_frac, consistency: (n,) float32; NaN where there is no box, or no such figure.
      box_px: (n, 4) float32 x0, y0, x1, y1; NaN where there is no box.
      names: of the classes, by index.
    """

    image: np.ndarray
    class_index: np.ndarray
    label: np.ndarray
    probability: np.ndarray
    area_frac: np.ndarray
    consistency: np.ndarray
    box_px: np.ndarray
    names: dict[int, str]

    @property
    def labelled(self) -> np.ndarray:
        """(n,) bool."""
        return self.label >= 0

    @property
    def agrees(self) -> np.ndarray:
        """(n,) bool: the prediction is the label."""
        return self.labelled & (self.label == self.class_index)


def read_rows(output: Output, done: Callable[[], object] = lambda: None) -> Rows:
    """Reads the light columns of every row: some 60 bytes each, whatever else the rows hold.

    Args:
      done: called after each shard.
    """
    parts = [_light(pa.table({}))]
    names: dict[int, str] = {}
    for shard in output.with_rows:
        for batch in row_batches(output.layout, shard, _COLUMNS, _BATCH_ROWS):
            table = pa.table(batch)
            parts.append(_light(table))
            classes = table.select(["class_index", "class_name"]).group_by(["class_index", "class_name"])
            names |= {row["class_index"]: row["class_name"] for row in classes.aggregate([]).to_pylist()}
        done()
    joined = [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]
    every_name = dict(enumerate(store.read_json(output.layout.class_names) or []))
    return Rows._make([*joined, every_name | names])


def read_some(
    output: Output, columns: list[str], positions: np.ndarray, done: Callable[[], object] = lambda: None
) -> Iterator[pa.Table]:
    """Yields chosen rows, a row group at a time.

    Args:
      columns: to read; those that a file lacks are left out.
      positions: (m,) of the rows among all rows, ascending.
      done: called after each shard.
    """
    first = 0
    for shard in output.with_rows:
        with open_parquet(output.layout.images(shard.shard_id)) as file:
            for group in range(file.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                wanted = positions[np.searchsorted(positions, first) : np.searchsorted(positions, last)]
                if len(wanted):
                    yield file.read_row_group(group, columns=columns).take(pa.array(wanted - first))
                first = last
        done()


def _light(table: pa.Table) -> list[np.ndarray]:
    """Returns a batch's columns in the order of `Rows`."""

    def numbers(name: str, kind: type, missing=None) -> np.ndarray:
        if name not in table.column_names:
            return np.full(len(table), np.nan, kind)
        column = table[name] if missing is None else table[name].fill_null(missing)
        return column.to_numpy().astype(kind)

    if not len(table):
        empty = np.zeros(0, np.float32)
        return [np.zeros(0, np.uint64), *[np.zeros(0, np.int32)] * 2, *[empty] * 3, np.zeros((0, 4), np.float32)]
    image = bytes.fromhex("".join(pc.utf8_slice_codeunits(table["sha256"], 0, 16).to_pylist()))
    box_px = np.stack([pc.struct_field(table["box"], side).to_numpy() for side in _BOX_SIDES], 1).astype(np.float32)
    area_px = (box_px[:, 2] - box_px[:, 0]) * (box_px[:, 3] - box_px[:, 1])
    return [
        np.frombuffer(image, ">u8").astype(np.uint64),
        numbers("class_index", np.int32),
        numbers("label", np.int32, -1),
        numbers("probability", np.float32),
        area_px / (numbers("width", np.float32) * numbers("height", np.float32)),
        numbers("consistency", np.float32),
        box_px,
    ]
