"""What a format declares, and what its writer can do."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TextIO

from pipeline.export.formats.records import ExportImage


class Writer(Protocol):
    """Writes one format into a folder, image by image."""

    def write(self, image: ExportImage, encoded: bytes | None) -> None:
        """Adds an image; `encoded` is its file where the images are copied."""

    def image_path(self, image: ExportImage) -> str | None:
        """Returns where the image file goes, relative to the folder; None if the format has no such files."""

    def close(self) -> None:
        """Writes what can only be written at the end."""


class Format(NamedTuple):
    """A format, as its module declares it under the name FORMAT.

    Attributes:
      writer: makes a Writer from the folder, the names of the classes, and those of the splits.
      images: what can be done with the image files, of "none", "copy" and "link"; the default first.
      flat_names, dotted_names: of images, see `names.safe_name`.
      named: whether images need unique names, for their files.
      optional_confidence: whether the writer takes `confidence` too, to add the score to each box; others always do.
    """

    writer: Callable[..., Writer]
    images: tuple[str, ...]
    flat_names: bool = True
    dotted_names: bool = True
    named: bool = True
    optional_confidence: bool = False


def create_text(path: str) -> TextIO:
    """Opens a new text file: UTF-8, and lines end as they are written."""
    return open(path, "w+", encoding="utf-8", newline="")
