"""`cambeam export`: the boxes of an output in the formats that detectors are trained from."""

import contextlib
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import rich.console
import rich.progress

from pipeline.exit_code import ExitCode
from pipeline.export.formats import coco, csv, voc, webdataset, yolo
from pipeline.export.formats.names import Names
from pipeline.export.formats.originals import OriginalError, extension_of, read_originals
from pipeline.export.formats.records import ExportBox, ExportImage
from pipeline.export.formats.writer import Writer
from pipeline.export.selection import COLUMNS, Best, Boxes, Selection, find_boxes
from pipeline.rows.classes import Classes, choose_classes
from pipeline.rows.output import Output, class_names, has_consistency, open_output, row_batches
from transforms.errors import UserError
from transforms.read.fields import Fields
from transforms.records import Shard
from transforms.store import files as store

_ABOUT_IMAGE = ("image_id", "shard_id", "uri", "index_in_shard", "width", "height", "sha256")


class Format(NamedTuple):
    """What there is to know of a format.

    Attributes:
      writer: takes folder, classes and splits.
      images: what may be done with the images, the default first.
      flat, dots: of names, see `names.safe_name`.
      named: images have file names in it.
    """

    writer: Callable[..., Writer]
    images: tuple[str, ...]
    flat: bool = True
    dots: bool = True
    named: bool = True


FORMATS = {
    "coco": Format(coco.CocoWriter, ("none", "copy", "link"), flat=False),
    "yolo": Format(yolo.YoloWriter, ("none", "copy", "link")),
    "voc": Format(voc.VocWriter, ("none", "copy", "link")),
    "webdataset": Format(webdataset.WebDatasetWriter, ("copy",), dots=False),
    "csv": Format(csv.CsvWriter, ("none",), named=False),
}


@dataclass(frozen=True)
class Export:
    """What is asked for.

    Attributes:
      predictions: the output of a run.
      format: a key of FORMATS.
      output: a local folder, which must not exist or be empty.
      selection: which boxes.
      classes: see `classes.choose_classes`.
      images: "none", "copy" or "link"; None takes what is usual for the format.
      confidence: see `yolo.YoloWriter`.
    """

    predictions: str
    format: str
    output: str
    selection: Selection
    classes: list[str] | None = None
    images: str | None = None
    confidence: bool = False

    def __post_init__(self):
        known = FORMATS[self.format].images
        if self.images not in (None, *known):
            raise UserError(f"--images {self.images} is not for --format {self.format}, only {' or '.join(known)} is")
        if self.confidence and self.format != "yolo":
            raise UserError(f"--confidence is for --format yolo; {self.format} has the score of each box anyway")
        if not store.is_local(self.output):
            raise UserError(f"the export is written to a local folder, got --output {self.output}")
        if os.path.exists(self.output) and (not os.path.isdir(self.output) or os.listdir(self.output)):
            raise UserError(f"{self.output!r} exists and is not empty: choose another --output, or remove it")

    @property
    def places(self) -> str:
        """What is done with the images."""
        return self.images or FORMATS[self.format].images[0]


def export(job: Export, console: rich.console.Console) -> ExitCode:
    """Writes the boxes of an output in a format. The folder appears when it is whole, or not at all.

    Raises:
      UserError: the output is none, or can't be selected from or written as is asked.
    """
    output = open_output(job.predictions)
    _check(job, output, console)
    classes = choose_classes(job.classes, class_names(output))
    folder = os.path.abspath(job.output)
    part = f"{folder}.part-{uuid.uuid4().hex[:8]}"
    os.makedirs(part)
    try:
        counts = _write(job, output, classes, part, console)
        os.rename(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _report(job, counts, console)
    return ExitCode.DONE


def _check(job: Export, output: Output, console: rich.console.Console) -> None:
    """Refuses what the output can't give, and says so where it is not complete."""
    if job.selection.min_consistency is not None and not has_consistency(output):
        raise UserError(f"--min-consistency: {job.predictions} was labelled without cam.flip, which measures it")
    apart = [shard.uri for shard in output.with_rows if not (shard.members and store.is_local(shard.uri))]
    if job.places == "link" and apart:
        raise UserError(f"--images link is for local image files; those of {apart[0]} need --images copy")
    if not output.complete:
        done, planned = len(output.done), len(output.planned)
        console.print(f"note: the output is not complete, {done} of {planned} shards are done", highlight=False)


def _write(job: Export, output: Output, classes: Classes, folder: str, console: rich.console.Console) -> Counter:
    """Writes all files; returns how many images and boxes, images of each split, and classes that have a box."""
    options = {"confidence": True} if job.confidence else {}
    writer = FORMATS[job.format].writer(folder, classes.names, job.selection.splits, **options)
    counts: Counter = Counter()
    boxed_classes: set[int] = set()
    total = sum(totals.written for totals in output.done.values())
    bar = rich.progress.Progress(console=console, transient=True, disable=not console.is_terminal)
    with contextlib.closing(writer), bar as progress:
        task = progress.add_task("exporting", total=total)
        for image, encoded in _with_bytes(job, output, _images(job, output, classes)):
            counts.update(("images", image.split))
            counts["boxes"] += len(image.boxes)
            boxed_classes.update(box.class_id for box in image.boxes)
            if encoded is not None:
                image = image._replace(extension=extension_of(image.uri, encoded))
            writer.write(image, encoded)
            _place(job.places, image, encoded, folder, writer.image_path(image))
            progress.advance(task)
    return counts + Counter(classes=len(boxed_classes), rows=total)


def _images(job: Export, output: Output, classes: Classes) -> Iterator[tuple[Shard, Iterator[ExportImage]]]:
    """Yields every shard with the images taken of it, which are to be gone through in order, to the end."""
    format, selection, layout, shards = FORMATS[job.format], job.selection, output.layout, output.with_rows
    columns = (*COLUMNS, *(["consistency"] if selection.min_consistency is not None else []))
    ids = (batch["image_id"].to_pylist() for shard in shards for batch in row_batches(layout, shard, ["image_id"]))
    names = Names(ids, format.flat, format.dots) if format.named else None
    best = None
    if selection.top_per_class:
        batches = (batch for shard in shards for batch in row_batches(layout, shard, columns))
        best = Best(selection.top_per_class, (find_boxes(batch, selection, classes) for batch in batches))

    def taken(shard: Shard) -> Iterator[ExportImage]:
        for batch in row_batches(layout, shard, list(dict.fromkeys([*columns, *_ABOUT_IMAGE]))):
            boxes = find_boxes(batch, selection, classes)
            yield from _rows_to_images(batch, best.of(boxes) if best else boxes, selection, classes, names)

    for shard in shards:
        yield shard, taken(shard)


def _rows_to_images(
    batch: pa.RecordBatch, boxes: Boxes, selection: Selection, classes: Classes, names: Names | None
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


def _with_bytes(
    job: Export, output: Output, shards: Iterator[tuple[Shard, Iterator[ExportImage]]]
) -> Iterator[tuple[ExportImage, bytes | None]]:
    """Adds the bytes of the images where they are copied."""
    settings = output.settings["config"]["input"]
    fields = Fields(**{key: settings[key] for key in Fields.model_fields})
    for shard, images in shards:
        if job.places == "copy":
            yield from read_originals(shard, fields, images)
        else:
            yield from ((image, None) for image in images)


def _place(places: str, image: ExportImage, encoded: bytes | None, folder: str, path: str | None) -> None:
    """Copies or links an image's file to where its format wants it."""
    if places == "none" or path is None:
        return
    path = os.path.join(folder, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if places == "link":
        if not os.path.exists(image.uri):
            raise OriginalError(f"{image.uri} is gone: run again, or export without images")
        os.symlink(image.uri, path)
    elif encoded is not None:
        with open(path, "wb") as file:
            file.write(encoded)


def _report(job: Export, counts: Counter, console: rich.console.Console) -> None:
    parts = f" (train {counts['train']}, val {counts['val']})" if len(job.selection.splits) > 1 else ""
    console.print(
        f"{counts['images']} of {counts['rows']} images{parts} with {counts['boxes']} boxes of {counts['classes']} "
        f"classes\noutput: {job.output}",
        highlight=False,
        soft_wrap=True,
    )
    if job.images is None and "copy" in FORMATS[job.format].images[1:]:
        console.print("the images stay where they are; --images copy or link puts them beside", highlight=False)
