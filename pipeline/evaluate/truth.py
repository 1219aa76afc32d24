"""True boxes: read from CSV or COCO JSON, held in a few arrays."""

import csv
import itertools
import json
import math
import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TextIO

import numpy as np

from transforms.errors import UserError

CSV_COLUMNS = ("image_id", "label", "x0", "y0", "x1", "y1")
_LARGEST_LABEL = 2**31 - 1


class TruthError(UserError):
    """The file of true boxes is not usable; the message is one line for the user."""


class _Row(NamedTuple):
    image: str
    label: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Truth:
    """The true boxes of n images.

    Attributes:
      names: (n,) of the images, as the file has them.
      first_box: (n + 1,) int64: the boxes of image i are those from first_box[i] to before first_box[i + 1].
      boxes: (b, 4) float64 x0, y0, x1, y1, in pixels of the original image, x1/y1 exclusive.
      box_label: (b,) int32 class of each box: a class index, or a place in `class_names`.
      label: (n,) int32 class of each image's boxes, the lowest if they are of several classes.
      several_classes: (n,) bool, whether they are.
      class_names: of a file that names its classes; None if it has class indices.
    """

    names: list[str]
    first_box: np.ndarray
    boxes: np.ndarray
    box_label: np.ndarray
    label: np.ndarray
    several_classes: np.ndarray
    class_names: list[str] | None = None

    def positions(self) -> dict[str, int]:
        """Maps the ids that rows may have to images: their names, and for names of files also without the extension.

        Raises:
          TruthError: two names differ only in the extension.
        """
        exact = {name: i for i, name in enumerate(self.names)}
        if self.class_names is None:
            return exact
        shortened: dict[str, int] = {}
        for name, i in exact.items():
            stem = os.path.splitext(name)[0]
            if shortened.setdefault(stem, i) != i:
                raise TruthError(f"the truth has two images that rows would both call {stem!r}, e.g. {name!r}")
        return shortened | exact


def read_truth(path: str) -> Truth:
    """Reads a file of true boxes: COCO JSON if its name ends in .json, else CSV with the columns CSV_COLUMNS.

    Raises:
      TruthError: the file can't be read, or something in it is wrong; the first such thing is named.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            truth = _read_coco(file, path) if path.endswith(".json") else _read_csv(file, path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TruthError(f"can't read the truth {path!r}: {error}") from None
    if not truth.names:
        raise TruthError(f"the truth {path!r} has no boxes")
    return truth


def _read_csv(file: TextIO, path: str) -> Truth:
    lines = csv.reader(file)
    header = [name.strip() for name in next(lines, [])]
    missing = [name for name in CSV_COLUMNS if name not in header]
    if missing:
        raise TruthError(f"{path}, line 1: no column {missing[0]!r}; expected {','.join(CSV_COLUMNS)}")
    places = [header.index(name) for name in CSV_COLUMNS]
    return _collect(_csv_row(line, places, f"{path}, line {lines.line_num}") for line in lines if line)


def _csv_row(line: list[str], places: list[int], where: str) -> _Row:
    if len(line) <= max(places):
        raise TruthError(f"{where}: expected at least {max(places) + 1} values, got {len(line)}")
    image, label, *corners = (line[place] for place in places)
    if not label.strip().isdecimal() or int(label) > _LARGEST_LABEL:
        raise TruthError(f"{where}: label must be a class index, 0 or more, got {label!r}")
    try:
        x0, y0, x1, y1 = map(float, corners)
    except ValueError:
        raise TruthError(f"{where}: x0, y0, x1, y1 must be numbers, got {','.join(corners)!r}") from None
    return _Row(image, int(label), _checked((x0, y0, x1, y1), where))


def _checked(box: tuple[float, float, float, float], where: str) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 < math.inf and 0 <= y0 < y1 < math.inf):
        raise TruthError(f"{where}: a box needs 0 <= x0 < x1 and 0 <= y0 < y1, got {', '.join(f'{v:g}' for v in box)}")
    return box


def _read_coco(file: TextIO, path: str) -> Truth:
    try:
        content = json.load(file)
        images = {image["id"]: image["file_name"] for image in content["images"]}
        names = {category["id"]: category["name"] for category in content["categories"]}
        annotations = content["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        raise TruthError(f"{path} is not COCO JSON: {type(error).__name__}: {error}") from None
    place = {category: i for i, category in enumerate(names)}

    def row(number: int, annotation: dict) -> _Row:
        where = f"{path}, annotation {number}"
        try:
            x, y, width, height = map(float, annotation["bbox"])
            image, label = images[annotation["image_id"]], place[annotation["category_id"]]
        except (ValueError, KeyError, TypeError) as error:
            raise TruthError(f"{where}: {type(error).__name__}: {error}") from None
        return _Row(image, label, _checked((x, y, x + width, y + height), where))

    # a crowd's box surrounds many objects
    single = ((i, a) for i, a in enumerate(annotations) if not (isinstance(a, dict) and a.get("iscrowd")))
    return _collect(itertools.starmap(row, single), list(names.values()))


def _collect(rows: Iterable[_Row], class_names: list[str] | None = None) -> Truth:
    """Groups rows, in any order, by image."""
    position: dict[str, int] = {}
    images, labels, corners = array("q"), array("q"), array("d")
    for row in rows:
        images.append(position.setdefault(row.image, len(position)))
        labels.append(row.label)
        corners.extend(row.box)
    image, labelled = np.array(images, np.int64), np.array(labels, np.int32)
    order = np.lexsort((labelled, image))  # by image, and within an image by label
    first_box = np.searchsorted(image[order], np.arange(len(position) + 1))
    box_label = labelled[order]
    lowest, highest = box_label[first_box[:-1]], box_label[first_box[1:] - 1]
    boxes = np.array(corners, np.float64).reshape(-1, 4)[order]
    return Truth(list(position), first_box, boxes, box_label, lowest, lowest != highest, class_names)
