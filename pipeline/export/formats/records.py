"""An image with its boxes, as the writers of all formats get it."""

from typing import NamedTuple


class ExportBox(NamedTuple):
    """A box in pixels of the upright original, x1/y1 exclusive, inside the image and never empty.

    Attributes:
      class_id: index into the export's classes.
    """

    class_id: int
    class_name: str
    probability: float
    score: float
    x0: float
    y0: float
    x1: float
    y1: float


class ExportImage(NamedTuple):
    """An image with the boxes that are exported.

    Attributes:
      name: unique and safe, relative, without extension.
      extension: of the image file, without the dot.
      split: "train" or "val".
    """

    name: str
    extension: str
    split: str
    image_id: str
    shard_id: str
    uri: str
    index_in_shard: int
    width: int
    height: int
    sha256: str
    boxes: list[ExportBox]

    @property
    def file_name(self) -> str:
        """The image's file."""
        return f"{self.name}.{self.extension}"
