"""The gallery of a report: which images it shows, their data in pages, and their thumbnails as files."""

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.console import Advance
from pipeline.report.comparison import Pairs
from pipeline.report.rows import Rows, read_some
from pipeline.rows.output import Output
from pipeline.rows.predictions import FlatPredictions, prediction_columns

PAGE_ROWS = 2000
_PER_FOLDER = 1000  # thumbnails
_EXTREME_SHARE = 20  # each kind of extreme gets at most one in this many places
_PER_CLASS = 20  # images of each class are chosen before others
_OTHER_PREDICTIONS = 5
_NO_CLASS = -1  # the page's mark of an image without a label, or without a row of the other model
_DETAIL_COLUMNS = ["image_id", "shard_id", "uri", "width", "height", "box"]
_DETAIL_COLUMNS += prediction_columns("class_index", "probability")


def choose(rows: Rows, limit: int, pairs: Pairs | None = None) -> np.ndarray:
    """Chooses the images that the gallery shows: all, or a sample of `limit` if there are more.

    The sample has the extremes of each kind (least certain, most confident mistakes, least consistent; of two models
    also the most confident differences and the boxes that differ most), then the same few images of each class on
    every run, then the same others: those whose bytes have the lowest hash.

    Returns:
      (m,) their positions, ascending.
    """
    count = len(rows.image)
    if count <= limit:
        return np.arange(count)
    interest = [-rows.probability, np.where(rows.labelled & ~rows.agrees, rows.probability, np.nan), -rows.consistency]
    if pairs:
        interest.append(np.where(pairs.differs(rows), np.minimum(rows.probability, pairs.probability), np.nan))
        interest.append(-pairs.iou)
    chosen = np.zeros(count, bool)
    for values in interest:
        most = np.argsort(-values, kind="stable")[: limit // _EXTREME_SHARE]  # NaN comes last
        chosen[most[np.isfinite(values[most])]] = True
    order = np.lexsort((rows.image, _rank_in_class(rows) >= _PER_CLASS))
    order = order[~chosen[order]]
    chosen[order[: limit - chosen.sum()]] = True
    return np.flatnonzero(chosen)


def _rank_in_class(rows: Rows) -> np.ndarray:
    """(n,) the place of each image among those of its class, by hash."""
    order = np.lexsort((rows.image, rows.class_index))
    classes = rows.class_index[order]
    first = np.searchsorted(classes, classes)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - first
    return ranks


def write_script(path: str, function: str, *values: Any) -> None:
    """Writes values as a call of one of the page's functions: a page from disk may load scripts, but not JSON."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    arguments = ",".join(json.dumps(value, separators=(",", ":"), allow_nan=False) for value in values)
    with open(path, "w", encoding="ascii") as file:
        file.write(f"cambeam.{function}({arguments});\n")


def write_pages(
    folder: str,
    output: Output,
    rows: Rows,
    chosen: np.ndarray,
    class_keys: np.ndarray,
    pairs: Pairs | None,
    advance: Advance,
) -> int:
    """Writes data/rows-*.js and the thumbnails of the chosen images; returns the number of pages."""
    shards = {shard.shard_id: (i, shard.uri) for i, shard in enumerate(output.done.values())}
    page: dict[str, list[Any]] = {}
    pages = written = 0
    for table in read_some(output, [*_DETAIL_COLUMNS, "thumbnail"], chosen, advance):
        numbers = np.arange(written, written + len(table))
        for name, values in {
            **_details(table, shards, class_keys),
            **_light(rows, chosen[numbers], class_keys, pairs),
            "thumbnail": _write_thumbnails(folder, "thumbnails", numbers[:, None], table),
        }.items():
            page.setdefault(name, []).extend(values)
        written += len(table)
        while len(page["id"]) >= PAGE_ROWS:
            _write_page(folder, pages, {name: values[:PAGE_ROWS] for name, values in page.items()})
            page = {name: values[PAGE_ROWS:] for name, values in page.items()}
            pages += 1
    if page.get("id"):
        _write_page(folder, pages, page)
        pages += 1
    return pages


def write_other_thumbnails(folder: str, other: Output, pairs: Pairs, chosen: np.ndarray, advance: Advance) -> None:
    """Writes the thumbnails that the other output has of the chosen images, under the numbers of the first's."""
    numbers = np.flatnonzero(pairs.found[chosen])
    theirs = pairs.row[chosen][numbers]
    positions = np.unique(theirs)
    by_row = np.split(numbers[np.argsort(theirs, kind="stable")], np.searchsorted(np.sort(theirs), positions)[1:])
    written = 0
    for table in read_some(other, ["thumbnail"], positions, advance):
        _write_thumbnails(folder, "thumbnails-other", by_row[written : written + len(table)], table)
        written += len(table)


def _write_thumbnails(folder: str, kind: str, numbers: Iterable[np.ndarray], table: pa.Table) -> list[int]:
    """Writes the thumbnail of each row under each of its numbers; returns 1 for every row that has one, else 0."""
    if "thumbnail" not in table.column_names:
        return [0] * len(table)
    jpegs = pc.struct_field(table["thumbnail"], "bytes")
    for jpeg, numbers_of_row in zip(jpegs, numbers, strict=True):
        for number in numbers_of_row if jpeg.is_valid else ():
            path = os.path.join(folder, kind, f"{number // _PER_FOLDER:04d}", f"{number:07d}.jpg")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(jpeg.as_buffer())
    return jpegs.is_valid().cast(pa.int8()).to_pylist()


def _write_page(folder: str, number: int, page: dict[str, list[Any]]) -> None:
    write_script(os.path.join(folder, "data", f"rows-{number:04d}.js"), "rows", number, page)


def _details(table: pa.Table, shards: dict[str, tuple[int, str]], class_keys: np.ndarray) -> dict[str, list[Any]]:
    """Returns what the page shows of one image, as columns."""
    columns = {name: table[name].to_pylist() for name in ("image_id", "shard_id", "uri", "width", "height", "box")}
    return {
        "id": columns["image_id"],
        "shard": [shards[shard_id][0] for shard_id in columns["shard_id"]],
        # most URIs start with that of their shard, which is not repeated
        "uri": [u.removeprefix(shards[s][1]) for s, u in zip(columns["shard_id"], columns["uri"], strict=True)],
        "size": [list(size) for size in zip(columns["width"], columns["height"], strict=True)],
        "box": [box and _rounded(box.values(), 3) for box in columns["box"]],
        "top": _others(FlatPredictions(table["predictions"].combine_chunks()), len(table), class_keys),
    }


def _others(predictions: FlatPredictions, num_rows: int, class_keys: np.ndarray) -> list[list[list[Any]]]:
    """Returns place and probability of the classes after the first of each row."""
    place_in_row = np.arange(len(predictions.row)) - np.searchsorted(predictions.row, predictions.row)
    chosen = np.flatnonzero((place_in_row > 0) & (place_in_row <= _OTHER_PREDICTIONS))
    places = np.searchsorted(class_keys, predictions.class_index[chosen]).tolist()
    probabilities = _rounded(predictions.probability[chosen].tolist(), 6)
    others: list[list[list[Any]]] = [[] for _ in range(num_rows)]
    for row, *place_and_probability in zip(predictions.row[chosen].tolist(), places, probabilities, strict=True):
        others[row].append(place_and_probability)
    return others


def _light(rows: Rows, positions: np.ndarray, class_keys: np.ndarray, pairs: Pairs | None) -> dict[str, list[Any]]:
    """Returns what the page filters and sorts by, as columns."""
    label = rows.label[positions]
    columns = {
        "class": np.searchsorted(class_keys, rows.class_index[positions]).tolist(),
        "label": np.where(rows.labelled[positions], np.searchsorted(class_keys, label), _NO_CLASS).tolist(),
        "probability": _rounded(rows.probability[positions].tolist(), 6),
        "area": _rounded(rows.area_frac[positions].tolist()),
        "consistency": _rounded(rows.consistency[positions].tolist()),
    }
    if pairs:
        other = pairs.class_index[positions]
        other_class = np.where(pairs.found[positions], np.searchsorted(class_keys, other), _NO_CLASS)
        columns["otherClass"] = other_class.tolist()
        columns["otherProbability"] = _rounded(pairs.probability[positions].tolist(), 6)
        columns["iou"] = _rounded(pairs.iou[positions].tolist())
    return columns


def _rounded(values: Iterable[float | None], digits: int = 4) -> list[float | None]:
    """Rounds for JSON, which knows no NaN."""
    return [None if value is None or not np.isfinite(value) else round(value, digits) for value in values]
