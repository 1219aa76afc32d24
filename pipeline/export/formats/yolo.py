"""YOLO: a text file per image, boxes as centre and size in shares of it (docs.ultralytics.com/datasets/detect)."""

import os

import yaml

from pipeline.export.formats.format import Format, create_text
from pipeline.export.formats.records import ExportBox, ExportImage

_DIGITS = 6


class YoloWriter:
    """Writes labels/<split>/<name>.txt, images.txt and data.yaml; images go to images/<split>.

    Args:
      confidence: adds the box's score as a sixth number, as in files of predictions; training files have five.
    """

    def __init__(self, folder: str, classes: list[str], splits: list[str], confidence: bool = False):
        self._folder, self._classes, self._splits, self._confidence = folder, classes, splits, confidence
        for split in splits:
            os.makedirs(os.path.join(folder, "labels", split))
            os.makedirs(os.path.join(folder, "images", split))
        self._list = create_text(os.path.join(folder, "images.txt"))

    def write(self, image: ExportImage, encoded: bytes | None) -> None:
        lines = [label_line(box, image.width, image.height, self._confidence) + "\n" for box in image.boxes]
        path = os.path.join(self._folder, "labels", image.split, f"{image.name}.txt")
        with create_text(path) as file:
            file.write("".join(lines))
        self._list.write(f"./{self.image_path(image)}\n")

    def image_path(self, image: ExportImage) -> str | None:
        return f"images/{image.split}/{image.file_name}"

    def close(self) -> None:
        self._list.close()
        # without a path, folders are relative to this file; training needs a val: it is the same if there is no split
        data = {"train": "images/train", "val": f"images/{self._splits[-1]}", "names": dict(enumerate(self._classes))}
        with create_text(os.path.join(self._folder, "data.yaml")) as file:
            yaml.safe_dump(data, file, sort_keys=False, allow_unicode=True)


def label_line(box: ExportBox, width: int, height: int, confidence: bool = False) -> str:
    """Returns a box as a line: class, centre x, centre y, width, height, each within [0, 1]."""
    x0, x1, y0, y1 = box.x0 / width, box.x1 / width, box.y0 / height, box.y1 / height
    least = 10**-_DIGITS
    numbers = [(x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, least), max(y1 - y0, least)]
    if confidence:
        numbers.append(box.score)
    return " ".join([str(box.class_id), *(f"{number:.{_DIGITS}f}" for number in numbers)])


FORMAT = Format(YoloWriter, ("none", "copy", "link"), optional_confidence=True)
