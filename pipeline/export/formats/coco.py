"""COCO: one JSON file per split, boxes as x, y, width, height (cocodataset.org/#format-data)."""

import json
import os
import shutil
from typing import IO, Any

from pipeline.export.formats.format import Format, create_text
from pipeline.export.formats.records import ExportBox, ExportImage


class CocoWriter:
    """Writes annotations/instances_<split>.json; images go to images/<split>.

    Category and annotation ids start at 1: tools take category 0 for the background, and pycocotools takes an
    annotation 0 for none.
    """

    def __init__(self, folder: str, classes: list[str], splits: list[str]):
        os.makedirs(os.path.join(folder, "annotations"))
        self._files = {
            split: _Instances(os.path.join(folder, "annotations", f"instances_{split}.json"), classes)
            for split in splits
        }

    def write(self, image: ExportImage, encoded: bytes | None) -> None:
        self._files[image.split].add(image)

    def image_path(self, image: ExportImage) -> str | None:
        return f"images/{image.split}/{image.file_name}"

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class _Instances:
    """One file. Annotations come after all images, so they wait in a file of their own."""

    def __init__(self, path: str, classes: list[str]):
        self._path = path
        self._images = create_text(path)
        self._annotations = create_text(f"{path}.annotations")
        self._num_images = self._num_annotations = 0
        categories = [{"id": index + 1, "name": name} for index, name in enumerate(classes)]
        self._images.write('{"info": {"description": "Pseudo-labels by cambeam"},\n')
        self._images.write(f'"categories": {json.dumps(categories, ensure_ascii=False)},\n"images": [')

    def add(self, image: ExportImage) -> None:
        entry = {
            "id": self._num_images + 1,
            "file_name": image.file_name,
            "width": image.width,
            "height": image.height,
            "coco_url": image.uri,
        }
        _write_entry(self._images, entry, first=not self._num_images)
        self._num_images += 1
        for box in image.boxes:
            self._num_annotations += 1
            annotation = {"id": self._num_annotations, "image_id": self._num_images, **annotate(box)}
            _write_entry(self._annotations, annotation, first=self._num_annotations == 1)

    def close(self) -> None:
        with self._images, self._annotations:
            self._images.write('\n],\n"annotations": [')
            self._annotations.seek(0)
            shutil.copyfileobj(self._annotations, self._images)
            self._images.write("\n]}\n")
        os.remove(f"{self._path}.annotations")


def annotate(box: ExportBox) -> dict[str, Any]:
    """Returns a box as COCO has it: continuous coordinates from the upper left corner, to a hundredth of a pixel."""
    x, y = round(box.x0, 2), round(box.y0, 2)
    width, height = max(round(box.x1 - x, 2), 0.01), max(round(box.y1 - y, 2), 0.01)
    return {
        "category_id": box.class_id + 1,
        "bbox": [x, y, width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "score": round(box.score, 6),
    }


def _write_entry(file: IO[str], entry: dict[str, Any], first: bool) -> None:
    file.write(("\n" if first else ",\n") + json.dumps(entry, ensure_ascii=False))


FORMAT = Format(CocoWriter, ("none", "copy", "link"), flat_names=False)
