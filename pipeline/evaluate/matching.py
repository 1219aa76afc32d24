"""Which image of the truth each row of an output is about."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.evaluate.truth import Truth
from pipeline.rows.output import Output
from transforms.errors import UserError


@dataclass
class MatchCounts:
    """How rows and truth match. All are numbers of rows but `not_predicted`.

    Attributes:
      rows: all.
      judged: with true boxes of a known class; what the scores are about.
      no_truth: not in the truth.
      ambiguous: several with the same image_id as one image of the truth; write shard_id/image_id in the truth.
      several_classes: with true boxes of several classes, none of them the row's own label.
      other_label: judged, although the row's own label is another class than the truth's.
      no_prediction: judged, but the true class is not among the row's predictions (see cam.include_label).
      no_map: judged and predicted, but the map was not kept (see output.cams).
      beyond_image: judged, with a true box that ends more than a pixel outside the image.
      not_predicted: images of the truth that have no row.
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


class Match(NamedTuple):
    """The m rows of a shard, or of a batch, that the truth has boxes for.

    Attributes:
      row: (m,) int32 place in the shard or batch, ascending.
      image: (m,) int32 position of its image in the truth.
    """

    row: np.ndarray
    image: np.ndarray

    def between(self, start: int, stop: int) -> "Match":
        """Returns the rows from `start` to before `stop`, with places counted from `start`."""
        first, last = np.searchsorted(self.row, [start, stop])
        return Match(self.row[first:last] - start, self.image[first:last])


def match_rows(output: Output, truth: Truth) -> tuple[list[Match], MatchCounts]:
    """Finds the rows that the truth names; rows that share a name are left out.

    Returns:
      A match for each shard with rows; and the counts that are known before the predictions are read.

    Raises:
      UserError: no row is in the truth.
    """
    known, counts = truth.positions(), MatchCounts()
    matches = []
    rows_of_image = np.zeros(len(truth.names), np.int64)
    for shard in output.with_rows:
        ids = [
            image_id for batch in output.batches(["image_id"], [shard]) for image_id in batch["image_id"].to_pylist()
        ]
        images = [known.get(f"{shard.shard_id}/{image_id}", known.get(image_id)) for image_id in ids]
        row = np.array([row for row, image in enumerate(images) if image is not None], np.int32)
        matches.append(Match(row, np.array([image for image in images if image is not None], np.int32)))
        np.add.at(rows_of_image, matches[-1].image, 1)
        counts.rows += len(ids)
    if not rows_of_image.any():
        example = f"the truth has e.g. {truth.names[0]!r}, the predictions e.g. {ids[0]!r}"
        raise UserError(f"no row has an image_id that the truth names: {example}")
    counts.no_truth = counts.rows - int(rows_of_image.sum())
    counts.ambiguous = int(rows_of_image[rows_of_image > 1].sum())
    counts.not_predicted = int(np.sum(rows_of_image == 0))
    single = [rows_of_image[match.image] == 1 for match in matches]
    return [Match(m.row[kept], m.image[kept]) for m, kept in zip(matches, single, strict=True)], counts
