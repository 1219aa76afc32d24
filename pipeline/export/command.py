"""`cambeam export`: the boxes of an output in the formats that detectors are trained from."""

import contextlib
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import rich.console

from pipeline.console import progress, say
from pipeline.exit_code import ExitCode
from pipeline.export.formats.records import ExportImage
from pipeline.export.formats.registry import load_format
from pipeline.export.images import read_images
from pipeline.export.originals import OriginalError, extension_of, read_originals
from pipeline.export.selection import Selection
from pipeline.rows.classes import choose_classes
from pipeline.rows.output import Output, open_output
from transforms.errors import UserError
from transforms.read.fields import Fields
from transforms.records import Shard
from transforms.store import files as store


@dataclass(frozen=True)
class ExportFlags:
    """What an export is told.

    Attributes:
      predictions: the output of a run.
      format: one of `registry.FORMATS`.
      output: a local folder, which must not exist or be empty.
      selection: which boxes.
      classes: see `classes.choose_classes`.
      images: what to do with the image files: "none", "copy" or "link"; None: the default of the format.
      confidence: see `yolo.YoloWriter`.
    """

    predictions: str
    format: str
    output: str
    selection: Selection
    classes: list[str] | None = None
    images: str | None = None
    confidence: bool = False

    def __post_init__(self) -> None:
        format = load_format(self.format)
        if self.images not in (None, *format.images):
            possible = " or ".join(format.images)
            raise UserError(f"--images {self.images} is not for --format {self.format}, only {possible} is")
        if self.confidence and not format.optional_confidence:
            raise UserError(f"--confidence is for --format yolo; {self.format} has the score of each box anyway")
        if not store.is_local(self.output):
            raise UserError(f"the export is written to a local folder, got --output {self.output}")
        if os.path.exists(self.output) and (not os.path.isdir(self.output) or os.listdir(self.output)):
            raise UserError(f"{self.output!r} exists and is not empty: choose another --output, or remove it")


def export(flags: ExportFlags, console: rich.console.Console) -> ExitCode:
    """Writes the boxes of an output in a format. The folder appears when it is whole, or not at all.

    Raises:
      UserError: there is no such output, or it does not have what is asked for.
    """
    output = open_output(flags.predictions)
    _check(flags, output)
    if not output.complete:
        say(console, f"note: the output is not complete, {len(output.done)} of {len(output.planned)} shards are done")
    folder = os.path.abspath(flags.output)
    part = f"{folder}.part-{uuid.uuid4().hex[:8]}"
    os.makedirs(part)
    try:
        counts = _write(flags, output, part, console)
        os.rename(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    splits = f" (train {counts['train']}, val {counts['val']})" if len(flags.selection.splits) > 1 else ""
    boxes = f"{counts['boxes']} boxes of {counts['classes']} classes"
    say(console, f"{counts['images']} of {counts['rows']} images{splits} with {boxes}\noutput: {flags.output}")
    if flags.images is None and "copy" in load_format(flags.format).images[1:]:
        say(console, "the images stay where they are; --images copy or link puts them beside")
    return ExitCode.DONE


def _check(flags: ExportFlags, output: Output) -> None:
    """Refuses what the output can't give."""
    if flags.selection.min_consistency is not None and not output.has_consistency:
        raise UserError(f"--min-consistency: {flags.predictions} was labelled without cam.flip, which measures it")
    elsewhere = [shard.uri for shard in output.with_rows if not (shard.members and store.is_local(shard.uri))]
    if flags.images == "link" and elsewhere:
        raise UserError(f"--images link is for local image files; those of {elsewhere[0]} need --images copy")


def _write(flags: ExportFlags, output: Output, folder: str, console: rich.console.Console) -> Counter[str]:
    """Writes all files; returns the numbers of images, of images in each split, of boxes, and of classes with a box."""
    format, selection = load_format(flags.format), flags.selection
    classes = choose_classes(flags.classes, output.class_names)
    images = flags.images or format.images[0]
    writer = format.writer(
        folder, classes.names, selection.splits, **({"confidence": True} if flags.confidence else {})
    )
    counts: Counter[str] = Counter(rows=sum(totals.written for totals in output.done.values()))
    boxed_classes: set[int] = set()
    with contextlib.closing(writer), progress(console) as begin:
        advance = begin("exporting", counts["rows"])
        for image, encoded in _with_bytes(output, read_images(output, format, selection, classes), images == "copy"):
            counts.update(("images", image.split))
            counts["boxes"] += len(image.boxes)
            boxed_classes.update(box.class_id for box in image.boxes)
            if encoded is not None:
                image = image._replace(extension=extension_of(image.uri, encoded))
            writer.write(image, encoded)
            path = writer.image_path(image)
            if path is not None and images != "none":
                _place(image, encoded, os.path.join(folder, path))
            advance(1)
    counts["classes"] = len(boxed_classes)
    return counts


def _with_bytes(
    output: Output, shards: Iterator[tuple[Shard, Iterator[ExportImage]]], copied: bool
) -> Iterator[tuple[ExportImage, bytes | None]]:
    """Adds the bytes of the images if they are copied."""
    settings = output.settings["config"]["input"]
    fields = Fields(**{key: settings[key] for key in Fields.model_fields})
    for shard, images in shards:
        if copied:
            yield from read_originals(shard, fields, images)
        else:
            yield from ((image, None) for image in images)


def _place(image: ExportImage, encoded: bytes | None, path: str) -> None:
    """Puts an image's file where its format wants it: a copy if there are bytes, else a link."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if encoded is not None:
        with open(path, "wb") as file:
            file.write(encoded)
    elif os.path.exists(image.uri):
        os.symlink(image.uri, path)
    else:
        raise OriginalError(f"{image.uri} is gone: run again, or export without images")
