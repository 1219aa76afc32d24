"""Compares the rows of an output with their true boxes, in pieces of bounded size."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.evaluate import scoring
from pipeline.evaluate.map_scores import MapBatch
from pipeline.evaluate.matching import Match, match_rows
from pipeline.evaluate.truth import Truth
from pipeline.rows.output import Output, open_parquet
from pipeline.rows.predictions import FlatPredictions, paired_ious, prediction_columns
from transforms.errors import UserError
from transforms.read.decode import model_view

_BATCH_ROWS = 512
_FIELDS = ("class_index", "rank", "cam", "cam_height", "cam_width", "boxes")
_COLUMNS = ["label", "width", "height", *prediction_columns(*_FIELDS)]


class JudgedRows(NamedTuple):
    """What n judged images are like, without looking at their maps.

    Attributes:
      rows_read: from the output for this piece, judged or not.
      image: (n,) int32 position in the truth.
      label: (n,) int64 true class, one of the truth's labels.
      predicted: (n,) bool, whether the true class is among the row's predictions.
      rank: (n,) int64 of the true class among all the model's, where it is predicted.
      own_iou: (n,) float64, of the run's own first box of the true class with the nearest true box, in original pixels;
        NaN if there is no such box.
      with_map: (m,) int64, which of the n have a map of the true class.
    """

    rows_read: int
    image: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    rank: np.ndarray
    own_iou: np.ndarray
    with_map: np.ndarray


class Judge:
    """Judges the rows of an output by true boxes.

    Attributes:
      about: how the rows were made, from the metadata of their files.
      counts: how rows and truth match; complete once all rows have been read.
      class_names: by label.
    """

    def __init__(self, output: Output, truth: Truth):
        if not output.with_rows:
            raise UserError(f"{output.layout.root!r} has no rows")
        self._output, self._truth = output, truth
        self.about = _metadata(output)
        self._resize = self.about["config"]["model"]["resize"]
        self._matches, self.counts = match_rows(output, truth)
        self.class_names = output.class_names
        self._label_of_class = np.arange(len(self.class_names))
        if truth.class_names is not None:
            # a class whose name is not in the truth gets a label beyond those of the truth
            places = {name: place for place, name in enumerate(truth.class_names)}
            unnamed = len(truth.class_names) + self._label_of_class
            self._label_of_class = np.array([places.get(n, u) for n, u in zip(self.class_names, unnamed, strict=True)])
            self.class_names = truth.class_names

    def read(self) -> Iterator[tuple[JudgedRows, MapBatch]]:
        """Yields the judged rows of all shards, in their order, with the maps of those that have one."""
        for shard, match in zip(self._output.with_rows, self._matches, strict=True):
            start = 0
            for batch in self._output.batches(_COLUMNS, [shard], _BATCH_ROWS):
                yield self._judge(batch, match.between(start, start + len(batch)))
                start += len(batch)

    def _judge(self, batch: pa.RecordBatch, match: Match) -> tuple[JudgedRows, MapBatch]:
        row, image, label = self._choose(batch["label"], match)
        predictions = FlatPredictions(batch["predictions"])
        found, entry = self._find(predictions, row, label)
        predicted, rank = np.zeros(len(row), bool), np.zeros(len(row), np.int64)
        predicted[found], rank[found] = True, predictions.rank[entry]
        own_boxes = np.full((len(row), 4), np.nan)
        own_boxes[found] = predictions.first_boxes(entry)
        box_row, true_boxes = self._true_boxes(image, label)
        starts = np.searchsorted(box_row, np.arange(len(row)))
        ious = paired_ious(own_boxes[box_row], true_boxes)
        own_iou = np.maximum.reduceat(ious, starts) if len(row) else np.zeros(0)

        maps = predictions.maps(entry)
        with_map = found[[cam is not None for cam in maps]]
        size = np.stack([batch["width"].to_numpy()[row], batch["height"].to_numpy()[row]], axis=1)
        views = np.array([model_view(width, height, self._resize) for width, height in size.tolist()]).reshape(-1, 4)
        truth_px = np.split(scoring.scorer_pixels(true_boxes, views[box_row]), starts[1:])
        map_batch = MapBatch(
            [self._truth.names[i] for i in image[with_map]],
            [cam for cam in maps if cam is not None],
            [truth_px[i] for i in with_map],
        )
        self.counts.no_prediction += len(row) - len(found)
        self.counts.no_map += len(found) - len(with_map)
        self.counts.beyond_image += len(np.unique(box_row[(true_boxes[:, 2:] > size[box_row] + 1).any(axis=1)]))
        return JudgedRows(len(batch), image, label, predicted, rank, own_iou, with_map), map_batch

    def _choose(self, own_labels: pa.Array, match: Match) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns which rows are judged, their images, and the true class of each.

        If an image has true boxes of several classes, the row's own label says which of them is judged.
        """
        truth, (row, image) = self._truth, match
        has_own = own_labels.is_valid().to_numpy(zero_copy_only=False)[row]
        own = own_labels.fill_null(0).to_numpy()[row].astype(np.int64)
        if truth.class_names is not None:
            has_own &= (own >= 0) & (own < len(self._label_of_class))
            own = self._label_of_class[np.where(has_own, own, 0)]
        label, judged = truth.label[image].astype(np.int64), ~truth.several_classes[image]
        for i in np.flatnonzero(~judged & has_own):
            first, last = truth.first_box[image[i] : image[i] + 2]
            if own[i] in truth.box_label[first:last]:
                label[i], judged[i] = own[i], True
        self.counts.judged += int(judged.sum())
        self.counts.several_classes += int((~judged).sum())
        self.counts.other_label += int((judged & has_own & (own != label)).sum())
        return row[judged], image[judged], label[judged]

    def _find(self, predictions: FlatPredictions, row: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns which of these rows have a prediction of their true class, and the entries of those predictions."""
        candidates = np.flatnonzero(np.isin(predictions.row, row))
        place = np.searchsorted(row, predictions.row[candidates])
        class_index = predictions.class_index[candidates]
        labels = class_index if self._truth.class_names is None else self._label_of_class[class_index]
        right = labels == label[place]
        found, first = np.unique(
            place[right], return_index=True
        )  # the more probable, if two classes have the same name
        return found, candidates[right][first]

    def _true_boxes(self, image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the true boxes of n images as (b, 4), preceded by the image that each belongs to, (b,) in [0, n)."""
        truth = self._truth
        first = truth.first_box[image]
        count = truth.first_box[image + 1] - first
        box_row = np.repeat(np.arange(len(image)), count)
        box = np.arange(len(box_row)) + np.repeat(first - (np.cumsum(count) - count), count)
        same = truth.box_label[box] == label[box_row]
        return box_row[same], truth.boxes[box[same]]


def _metadata(output: Output) -> dict[str, Any]:
    path = output.layout.images(output.with_rows[0].shard_id)
    with open_parquet(path) as file:
        about = json.loads((file.schema_arrow.metadata or {}).get(b"cambeam", "null"))
    if not about:
        raise UserError(f"{path} was not written by cambeam")
    return about
