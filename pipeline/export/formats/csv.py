"""CSV: one table, a line per box."""

import csv
import os

from pipeline.export.formats.format import Format, create_text
from pipeline.export.formats.records import ExportBox, ExportImage

_IMAGE_COLUMNS = ("image_id", "shard_id", "index_in_shard", "uri", "split", "width", "height")
_BOX_COLUMNS = tuple("class_index" if field == "class_id" else field for field in ExportBox._fields)


class CsvWriter:
    """Writes boxes.csv; an image without a box has one line, with empty cells for the box."""

    def __init__(self, folder: str, classes: list[str], splits: list[str]):
        self._file = create_text(os.path.join(folder, "boxes.csv"))
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([*_IMAGE_COLUMNS, *_BOX_COLUMNS])

    def write(self, image: ExportImage, encoded: bytes | None) -> None:
        about = [getattr(image, column) for column in _IMAGE_COLUMNS]
        self._writer.writerows([*about, *box] for box in image.boxes)
        if not image.boxes:
            self._writer.writerow([*about, *([None] * len(_BOX_COLUMNS))])

    def image_path(self, image: ExportImage) -> str | None:
        return None

    def close(self) -> None:
        self._file.close()


FORMAT = Format(CsvWriter, ("none",), named=False)
