"""What a format must be able to do."""

from typing import Protocol, TextIO

from pipeline.export.formats.records import ExportImage


class Writer(Protocol):
    """Writes one format into a folder, image by image."""

    def write(self, image: ExportImage, encoded: bytes | None) -> None:
        """Adds an image; `encoded` is its file where the images are copied."""

    def image_path(self, image: ExportImage) -> str | None:
        """Returns where the format wants the image file, relative to the folder; None where it takes care of it."""

    def close(self) -> None:
        """Writes what can only be written at the end."""


def create_text(path: str) -> TextIO:
    """Opens a new text file: UTF-8, and lines end as they are written."""
    return open(path, "w+", encoding="utf-8", newline="")
