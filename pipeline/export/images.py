"""The rows of an output as images to export, each with its selected boxes."""

from collections.abc import Iterator

import pyarrow as pa

from pipeline.export.formats.format import Format
from pipeline.export.formats.records import ExportBox, ExportImage
from pipeline.export.names import Names
from pipeline.export.originals import extension_of
from pipeline.export.selection import COLUMNS, Best, SelectedBoxes, Selection, select_boxes
from pipeline.rows.classes import Classes
from pipeline.rows.output import Output
from transforms.records import Shard

_ABOUT_IMAGE = ("image_id", "shard_id", "uri", "index_in_shard", "width", "height", "sha256")


def read_images(
    output: Output, format: Format, selection: Selection, classes: Classes
) -> Iterator[tuple[Shard, Iterator[ExportImage]]]:
    """Yields every shard with the images selected from it, which must be read to the end before the next shard."""
    columns = [*COLUMNS, *(["consistency"] if selection.min_consistency is not None else [])]
    names = None
    if format.named:
        ids = (batch["image_id"].to_pylist() for batch in output.batches(["image_id"]))
        names = Names(ids, format.flat_names, format.dotted_names)
    best = None
    if selection.top_per_class:
        boxes_of_all = (select_boxes(batch, selection, classes) for batch in output.batches(columns))
        best = Best(selection.top_per_class, boxes_of_all)

    def selected(shard: Shard) -> Iterator[ExportImage]:
        for batch in output.batches(list(dict.fromkeys([*columns, *_ABOUT_IMAGE])), [shard]):
            boxes = select_boxes(batch, selection, classes)
            yield from _images(batch, best.of(boxes) if best else boxes, selection, classes, names)

    for shard in output.with_rows:
        yield shard, selected(shard)


def _images(
    batch: pa.RecordBatch, boxes: SelectedBoxes, selection: Selection, classes: Classes, names: Names | None
) -> Iterator[ExportImage]:
    of_row: dict[int, list[ExportBox]] = {}
    for row, class_id, probability, score, corners in zip(*(values.tolist() for values in boxes), strict=True):
        box = ExportBox(class_id, classes.names[class_id], probability, score, *corners)
        of_row.setdefault(row, []).append(box)
    rows = range(batch.num_rows) if selection.keep_empty else list(of_row)
    table = batch.select(list(_ABOUT_IMAGE)).take(pa.array(rows, pa.int64()))
    for row, values in zip(rows, table.to_pylist(), strict=True):
        name = names(values["image_id"], values["shard_id"], values["index_in_shard"]) if names else ""
        split = selection.split(values["sha256"])
        yield ExportImage(name, extension_of(values["uri"]), split, boxes=of_row.get(row, []), **values)
