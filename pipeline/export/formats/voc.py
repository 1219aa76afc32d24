"""Pascal VOC: an XML file per image, boxes in whole pixels, counted from one, the last one inside (devkit 2012)."""

import math
import os
import re
import xml.etree.ElementTree as ET

from pipeline.export.formats.format import Format, create_text
from pipeline.export.formats.records import ExportBox, ExportImage

_NOT_XML = re.compile(
    r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # what XML 1.0 can't hold, escaped or not


class VocWriter:
    """Writes Annotations/<name>.xml and ImageSets/Main/<split>.txt; images go to JPEGImages."""

    def __init__(self, folder: str, classes: list[str], splits: list[str]):
        self._folder = folder
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            os.makedirs(os.path.join(folder, part))
        self._lists = {split: create_text(os.path.join(folder, "ImageSets/Main", f"{split}.txt")) for split in splits}

    def write(self, image: ExportImage, encoded: bytes | None) -> None:
        tree = ET.ElementTree(annotation(image))
        ET.indent(tree)
        tree.write(os.path.join(self._folder, "Annotations", f"{image.name}.xml"), encoding="utf-8")
        self._lists[image.split].write(f"{image.name}\n")

    def image_path(self, image: ExportImage) -> str | None:
        return f"JPEGImages/{image.file_name}"

    def close(self) -> None:
        for file in self._lists.values():
            file.close()


def annotation(image: ExportImage) -> ET.Element:
    """Returns an image's annotation element; `score` in an object is cambeam's own."""
    root = ET.Element("annotation")
    _put(root, folder="JPEGImages", filename=image.file_name)
    _put(ET.SubElement(root, "source"), database="cambeam", annotation=image.uri)
    _put(ET.SubElement(root, "size"), width=image.width, height=image.height, depth=3)
    _put(root, segmented=0)
    for box in image.boxes:
        element = ET.SubElement(root, "object")
        _put(element, name=box.class_name, pose="Unspecified", truncated=0, difficult=0, score=round(box.score, 6))
        x0, y0, x1, y1 = whole_pixels(box)
        _put(ET.SubElement(element, "bndbox"), xmin=x0, ymin=y0, xmax=x1, ymax=y1)
    return root


def whole_pixels(box: ExportBox) -> tuple[int, int, int, int]:
    """Returns the first and the last pixel that a box touches, both inside, counted from one."""
    return math.floor(box.x0) + 1, math.floor(box.y0) + 1, math.ceil(box.x1), math.ceil(box.y1)


def _put(parent: ET.Element, **values: str | float) -> None:
    for tag, value in values.items():
        ET.SubElement(parent, tag).text = _NOT_XML.sub("\ufffd", str(value))


FORMAT = Format(VocWriter, ("none", "copy", "link"))
