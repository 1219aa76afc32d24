"""The rows of a run that have true boxes, read from its Parquet in pieces of bounded size."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.evaluate import scoring
from pipeline.evaluate.map_scores import MapBatch
from pipeline.evaluate.truth import SEVERAL_CLASSES, Truth
from pipeline.rows.entries import ABSENT, Entries
from pipeline.rows.output import Output, open_parquet, row_batches
from transforms.errors import UserError
from transforms.read.decode import model_view

_BATCH_ROWS = 512
_NO_TRUTH = ABSENT
_FIELDS = ("class_index", "class_name", "rank", "cam", "cam_height", "cam_width", "boxes")
_COLUMNS = ["label", "width", "height", *(f"predictions.list.element.{field}" for field in _FIELDS)]


@dataclass
class Counts:
    """How rows and truth meet. All but `rows`, `judged` and `not_predicted` are of rows.

    Attributes:
      rows: read.
      judged: have true boxes and a class, and are what the scores are about.
      no_truth: the truth does not name them.
      ambiguous: the truth names several by one image_id; write shard_id/image_id there.
      several_classes: the truth has boxes of several classes, none of them the row's own label.
      other_label: judged, but the row's own label is another class than the truth's.
      no_prediction: judged, but the true class is not among the row's predictions (see cam.include_label).
      no_map: judged and predicted, but the map was not kept (see output.cams).
      beyond_image: judged, with a true box that ends more than a pixel outside the image.
      not_predicted: images of the truth that no row is about.
    """

    rows: int = 0
    judged: int = 0
    no_truth: int = 0
    ambiguous: int = 0
    several_classes: int = 0
    other_label: int = 0
    no_prediction: int = 0
    no_map: int = 0
    beyond_image: int = 0
    not_predicted: int = 0


class JudgedRows(NamedTuple):
    """What is known of n judged images without looking at their maps.

    Attributes:
      rows_read: of the file, since the last piece.
      image: (n,) int64 position in the truth.
      label: (n,) int64 true class, as the truth has it.
      rank: (n,) int64 of the true class among the model's; -1 where it is not among the predictions.
      own_iou: (n,) float64 of the run's own first box of the true class with the best true box, in original pixels.
      with_map: (m,) int64, those of the n that have a map.
    """

    rows_read: int
    image: np.ndarray
    label: np.ndarray
    rank: np.ndarray
    own_iou: np.ndarray
    with_map: np.ndarray


class Predictions:
    """The rows of a run.

    Attributes:
      about: how the rows were made: the files' own metadata.
      counts: grows while the rows are read.
      class_names: by class, of the true classes that were met so far.
    """

    def __init__(self, output: Output, truth: Truth):
        self._layout, self._shards, self._truth = output.layout, output.with_rows, truth
        if not self._shards:
            raise UserError(f"{output.layout.root!r} has no rows")
        self.counts = Counts()
        self.class_names: dict[int, str] = dict(enumerate(truth.class_names or []))
        self.about = self._metadata()
        self._resize = self.about["config"]["model"]["resize"]
        self._positions = self._join()

    def read(self) -> Iterator[tuple[JudgedRows, MapBatch]]:
        """Yields the judged rows of all shards, in their order, with the maps of those that have one."""
        for shard, positions in zip(self._shards, self._positions, strict=True):
            start = 0
            for batch in row_batches(self._layout, shard, _COLUMNS, _BATCH_ROWS):
                yield self._judge(batch, positions[start : start + len(batch)])
                start += len(batch)

    def _metadata(self) -> dict[str, Any]:
        path = self._layout.images(self._shards[0].shard_id)
        with open_parquet(path) as file:
            about = json.loads((file.schema_arrow.metadata or {}).get(b"cambeam", "null"))
        if not about:
            raise UserError(f"{path} was not written by cambeam")
        return about

    def _join(self) -> list[np.ndarray]:
        """Returns for each shard the position in the truth of each row, or _NO_TRUTH."""
        known, truth = self._truth.positions(), self._truth
        joined = []
        for shard in self._shards:
            batches = row_batches(self._layout, shard, ["image_id"])
            ids = [image_id for batch in batches for image_id in batch["image_id"].to_pylist()]
            found = [known.get(f"{shard.shard_id}/{image_id}", known.get(image_id, _NO_TRUTH)) for image_id in ids]
            joined.append(np.array(found, np.int64))
        counts = self.counts
        met = np.zeros(len(truth.names), np.int64)
        for positions in joined:
            met += np.bincount(positions[positions >= 0], minlength=len(met))
        for i, positions in enumerate(joined):
            named = positions >= 0
            several = named & (met[positions] > 1)
            counts.rows += len(positions)
            counts.no_truth += int(np.sum(~named))
            counts.ambiguous += int(np.sum(several))
            joined[i] = np.where(several, _NO_TRUTH, positions)
        counts.not_predicted = int(np.sum(met == 0))
        if not met.any():
            example = f"the truth has e.g. {truth.names[0]!r}, the predictions e.g. {ids[0]!r}"
            raise UserError(f"no row has an image_id that the truth names: {example}")
        return joined

    def _judge(self, batch: pa.RecordBatch, positions: np.ndarray) -> tuple[JudgedRows, MapBatch]:
        entries = Entries(batch.column("predictions"), self._truth.class_names)
        own_label = batch.column("label").fill_null(ABSENT).to_numpy()
        if self._truth.class_names is not None:
            own_label = entries.own_label(own_label)
        row, label = self._choose(positions, own_label)
        image, entry = positions[row], entries.find(row, label)
        predicted = np.flatnonzero(entry != ABSENT)
        box_of, boxes = self._boxes(image, label)
        width, height = (batch.column(name).to_numpy()[row] for name in ("width", "height"))
        own_boxes = np.full((len(row), 4), np.nan)
        own_boxes[predicted] = entries.first_boxes(entry[predicted])
        starts = np.searchsorted(box_of, np.arange(len(row)))
        ious = scoring.aligned_iou(own_boxes[box_of], boxes)
        own_iou = np.maximum.reduceat(ious, starts) if len(row) else np.zeros(0)
        rank = np.full(len(row), ABSENT, np.int64)
        rank[predicted] = entries.rank(entry[predicted])
        self._name_classes(entries, entry[predicted], label[predicted])
        maps = entries.maps(entry[predicted])
        with_map = predicted[[found is not None for found in maps]]

        views = np.array(
            [model_view(*size, self._resize) for size in zip(width.tolist(), height.tolist(), strict=True)]
        )
        truth = np.split(scoring.scorer_pixels(boxes, views.reshape(-1, 4)[box_of]), starts[1:])
        names = self._truth.names
        map_batch = MapBatch(
            [names[i] for i in image[with_map]],
            [found for found in maps if found is not None],
            [truth[i] for i in with_map],
        )
        counts = self.counts
        counts.judged += len(row)
        counts.other_label += int(np.sum((own_label[row] != ABSENT) & (own_label[row] != label)))
        counts.no_prediction += len(row) - len(predicted)
        counts.no_map += len(predicted) - len(with_map)
        outside = (boxes[:, 2] > width[box_of] + 1) | (boxes[:, 3] > height[box_of] + 1)
        counts.beyond_image += len(np.unique(box_of[outside]))
        return JudgedRows(len(batch), image, label, rank, own_iou, with_map), map_batch

    def _choose(self, positions: np.ndarray, own_label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows that are judged and the true class of each: the truth's, or among several the row's own."""
        truth = self._truth
        label = np.where(positions == _NO_TRUTH, SEVERAL_CLASSES, truth.label[positions])
        for row in np.flatnonzero((positions != _NO_TRUTH) & (label == SEVERAL_CLASSES)):
            first, last = truth.first_box[positions[row] : positions[row] + 2]
            if own_label[row] in truth.box_label[first:last]:
                label[row] = own_label[row]
            else:
                self.counts.several_classes += 1
        chosen = np.flatnonzero(label != SEVERAL_CLASSES)
        return chosen, label[chosen].astype(np.int64)

    def _boxes(self, image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns which of the images each of their b true boxes is of, (b,), and the boxes, (b, 4)."""
        truth = self._truth
        first = truth.first_box[image]
        count = truth.first_box[image + 1] - first
        box_of = np.repeat(np.arange(len(image)), count)
        box = np.arange(len(box_of)) + np.repeat(first - (np.cumsum(count) - count), count)
        same = truth.box_label[box] == label[box_of]
        return box_of[same], truth.boxes[box[same]]

    def _name_classes(self, entries: Entries, entry: np.ndarray, label: np.ndarray) -> None:
        new = np.flatnonzero(~np.isin(label, list(self.class_names)))
        self.class_names.update(zip(label[new].tolist(), entries.class_names(entry[new]), strict=True))
