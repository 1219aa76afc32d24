"""The gallery of a report: which images it shows, and their data in pages beside their thumbnails as files."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.report.compare import Pairs
from pipeline.report.rows import Rows, read_some
from pipeline.rows.output import Output

PAGE_ROWS = 2000
_PER_FOLDER = 1000  # thumbnails
_EXTREME_SHARE = 20  # each kind of extreme gets one in so many places
_PER_CLASS = 20  # images of each class that come before others
_OTHER_PREDICTIONS = 5
_DETAIL_COLUMNS = ["image_id", "shard_id", "uri", "width", "height", "box", "predictions.list.element.class_index"]
_DETAIL_COLUMNS += ["predictions.list.element.probability", "predictions.list.element.rank"]


def choose(rows: Rows, limit: int, pairs: Pairs | None = None) -> np.ndarray:
    """Chooses the images that the gallery shows: all, or where they are more than `limit` a sample of that size.

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
    done: Callable[[], object],
) -> int:
    """Writes data/rows-*.js and the thumbnails of the chosen images; returns the number of pages."""
    shards = {shard.shard_id: (i, shard.uri) for i, shard in enumerate(output.done.values())}
    page: dict[str, list] = {}
    pages = written = 0
    for table in read_some(output, [*_DETAIL_COLUMNS, "thumbnail"], chosen, done):
        positions = chosen[written : written + len(table)]
        for name, values in {
            **_details(table, shards, class_keys),
            **_light(rows, positions, class_keys, pairs),
            "thumbnail": [int(size > 0) for size in write_thumbnails(folder, "thumbnails", written, table)],
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


def write_other_thumbnails(
    folder: str, other: Output, pairs: Pairs, chosen: np.ndarray, done: Callable[[], object]
) -> None:
    """Writes the thumbnails that the other output has of the chosen images, under the numbers of the first's."""
    numbers = np.flatnonzero(pairs.row[chosen] >= 0)
    theirs = pairs.row[chosen][numbers]
    positions, inverse = np.unique(theirs, return_inverse=True)
    order, first = np.argsort(inverse, kind="stable"), np.searchsorted(np.sort(inverse), np.arange(len(positions) + 1))
    written = 0
    for table in read_some(other, ["thumbnail"], positions, done):
        if "thumbnail" in table.column_names:
            for jpeg in pc.struct_field(table["thumbnail"], "bytes"):
                for place in order[first[written] : first[written + 1]]:  # images may be there more than once
                    _write_thumbnail(folder, "thumbnails-other", int(numbers[place]), jpeg.as_py())
                written += 1


def write_thumbnails(folder: str, kind: str, first: int, table: pa.Table) -> Iterator[int]:
    """Writes the thumbnails of rows, numbered from `first`, and yields their sizes, 0 where there is none."""
    if "thumbnail" not in table.column_names:
        yield from [0] * len(table)
        return
    for number, jpeg in enumerate(pc.struct_field(table["thumbnail"], "bytes"), first):
        yield _write_thumbnail(folder, kind, number, jpeg.as_py())


def _write_thumbnail(folder: str, kind: str, number: int, jpeg: bytes | None) -> int:
    if not jpeg:
        return 0
    path = os.path.join(folder, kind, f"{number // _PER_FOLDER:04d}", f"{number:07d}.jpg")
    if number % _PER_FOLDER == 0 or not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(jpeg)
    return len(jpeg)


def _write_page(folder: str, number: int, page: dict[str, list]) -> None:
    write_script(os.path.join(folder, "data", f"rows-{number:04d}.js"), "rows", number, page)


def _details(table: pa.Table, shards: dict[str, tuple[int, str]], class_keys: np.ndarray) -> dict[str, list]:
    """Returns what the page shows of one image, as columns."""
    shard_ids, uris = table["shard_id"].to_pylist(), table["uri"].to_pylist()
    return {
        "id": table["image_id"].to_pylist(),
        "shard": [shards[shard_id][0] for shard_id in shard_ids],
        # most uris go on from their shard's, which then need not be said again
        "uri": [uri.removeprefix(shards[shard_id][1]) for shard_id, uri in zip(shard_ids, uris, strict=True)],
        "size": [list(size) for size in zip(table["width"].to_pylist(), table["height"].to_pylist(), strict=True)],
        "box": [box and _rounded(box.values(), 3) for box in table["box"].to_pylist()],
        "top": [_top(predictions, class_keys) for predictions in table["predictions"].to_pylist()],
    }


def _top(predictions: list[dict], class_keys: np.ndarray) -> list[list]:
    """Returns place and probability of the classes after the first."""
    ranked = sorted(predictions or [], key=lambda prediction: prediction["rank"])[1 : 1 + _OTHER_PREDICTIONS]
    return [
        [int(np.searchsorted(class_keys, prediction["class_index"])), *_rounded([prediction["probability"]], 6)]
        for prediction in ranked
    ]


def _light(rows: Rows, positions: np.ndarray, class_keys: np.ndarray, pairs: Pairs | None) -> dict[str, list]:
    """Returns what the page filters and sorts by, as columns."""
    label = rows.label[positions]
    columns = {
        "class": np.searchsorted(class_keys, rows.class_index[positions]).tolist(),
        "label": np.where(label < 0, -1, np.searchsorted(class_keys, label)).tolist(),
        "probability": _rounded(rows.probability[positions].tolist(), 6),
        "area": _rounded(rows.area_frac[positions].tolist()),
        "consistency": _rounded(rows.consistency[positions].tolist()),
    }
    if pairs:
        other = pairs.class_index[positions]
        columns["otherClass"] = np.where(other < 0, -1, np.searchsorted(class_keys, other)).tolist()
        columns["otherProbability"] = _rounded(pairs.probability[positions].tolist(), 6)
        columns["iou"] = _rounded(pairs.iou[positions].tolist())
    return columns


def _rounded(values: Iterable[float | None], digits: int = 4) -> list[float | None]:
    """Rounds for JSON, which knows no NaN."""
    return [None if value is None or not np.isfinite(value) else round(value, digits) for value in values]
