"""Reads the rows of an output for a report: small columns of all rows, large ones of a few."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.console import Advance
from pipeline.rows.output import Output, open_parquet
from pipeline.rows.predictions import corners

_BATCH_ROWS = 32768
_COLUMNS = ["sha256", "width", "height", "label", "class_index", "probability", "box", "consistency"]


class Rows(NamedTuple):
    """All rows of an output as columns of length n, in the order of its shards.

    Attributes:
      image: (n,) uint64, the first 64 bits of the image's sha256.
      class_index: (n,) int32.
      labelled: (n,) bool, whether the image has a label.
      label: (n,) int32, if it has one.
      probability, area_frac, consistency: (n,) float32; NaN if there is no box, or if it was not measured.
      box_px: (n, 4) float32 x0, y0, x1, y1; NaN if there is no box.
    """

    image: np.ndarray
    class_index: np.ndarray
    labelled: np.ndarray
    label: np.ndarray
    probability: np.ndarray
    area_frac: np.ndarray
    consistency: np.ndarray
    box_px: np.ndarray

    @property
    def agrees(self) -> np.ndarray:
        """(n,) bool: the prediction is the label."""
        return self.labelled & (self.label == self.class_index)


def read_rows(output: Output, advance: Advance = lambda _: None) -> Rows:
    """Reads the small columns of every row, about 60 bytes per row.

    Args:
      advance: called after each shard.
    """
    no_numbers = [np.empty(0, kind) for kind in (np.uint64, np.int32, bool, np.int32, *[np.float32] * 3)]
    parts = [Rows._make([*no_numbers, np.empty((0, 4), np.float32)])]
    for shard in output.with_rows:
        parts += [_light(batch) for batch in output.batches(_COLUMNS, [shard], _BATCH_ROWS)]
        advance(1)
    return Rows(*(np.concatenate(pieces) for pieces in zip(*parts, strict=True)))


def read_some(
    output: Output, columns: list[str], positions: np.ndarray, advance: Advance = lambda _: None
) -> Iterator[pa.Table]:
    """Yields chosen rows, a row group at a time.

    Args:
      columns: to read; those that a file lacks are left out.
      positions: (m,) of the rows among all rows, ascending.
      advance: called after each shard.
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
        advance(1)


def _light(batch: pa.RecordBatch) -> Rows:
    def floats(name: str) -> np.ndarray:
        return batch[name].to_numpy(zero_copy_only=False).astype(np.float32)

    image = bytes.fromhex("".join(pc.utf8_slice_codeunits(batch["sha256"], 0, 16).to_pylist()))
    box_px = corners(batch["box"])
    return Rows(
        image=np.frombuffer(image, ">u8").astype(np.uint64),
        class_index=batch["class_index"].to_numpy(),
        labelled=batch["label"].is_valid().to_numpy(zero_copy_only=False),
        label=batch["label"].fill_null(0).to_numpy(),
        probability=floats("probability"),
        area_frac=(box_px[:, 2:] - box_px[:, :2]).prod(axis=1) / (floats("width") * floats("height")),
        consistency=floats("consistency"),
        box_px=box_px,
    )
