"""Accuracies from hits: of all images, by class, by threshold, and at tuned thresholds."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.evaluate.scoring import Normalization
from pipeline.evaluate.tally import Count, Measure, Tally, TuningTally


@dataclass(frozen=True)
class Accuracies:
    """Shares in [0, 1] of a set of images; None where they are not known.

    Attributes:
      images: how many were judged; classification, top-1 and top-5 localisation are shares of these.
      top1, top5: images whose true class is the most probable, or among the five most probable.
      gt_known, top1_loc, top5_loc: of the boxes that the run wrote: the true class's first box has IoU >= 0.5 with a
        true box; and the class is right as well.
      max_box_acc: of boxes recomputed from the maps: GT-known localisation at the threshold best for all images.
      max_box_acc_v2: the same with all contours, the mean over IoU 0.3, 0.5, 0.7, each at the threshold best for it.
      best_top1_loc, best_top5_loc: of recomputed boxes, at the threshold best for each.
    """

    images: int
    top1: float | None
    top5: float | None
    gt_known: float | None
    top1_loc: float | None
    top5_loc: float | None
    max_box_acc: float | None
    max_box_acc_v2: float | None
    best_top1_loc: float | None
    best_top5_loc: float | None


@dataclass(frozen=True)
class ClassAccuracies:
    """The accuracies of one true class, at the thresholds that are best for all images."""

    label: int
    class_name: str
    accuracies: Accuracies


@dataclass(frozen=True)
class CurvePoint:
    """Accuracies of all images at one threshold: by the largest contour's box, by all contours' boxes, with class."""

    threshold_frac: float
    gt_known_iou30: float
    gt_known_iou50: float
    gt_known_iou70: float
    all_contours_iou30: float
    all_contours_iou50: float
    all_contours_iou70: float
    top1_loc: float
    top5_loc: float | None


@dataclass(frozen=True)
class Tuned:
    """A choice of threshold, and the GT-known localisation that it gives.

    Attributes:
      normalization, threshold_frac: the best on all images.
      gt_known: at this choice; too high, as the choice was made on the same images.
      held_out: GT-known of each half at the best choice for the other half, both together; not too high.
      max_box_acc_v2: of the normalization.
    """

    normalization: str
    threshold_frac: float
    gt_known: float
    held_out: float
    max_box_acc_v2: float


class Summary(NamedTuple):
    """The accuracies of a Tally.

    Attributes:
      best_threshold_frac: of max_box_acc; None where no maps were kept.
      curve: by threshold; empty where no maps were kept.
      classes: those that have images, ascending.
    """

    overall: Accuracies
    best_threshold_frac: float | None
    curve: list[CurvePoint]
    classes: list[ClassAccuracies]


def summarize(tally: Tally, thresholds: np.ndarray, class_names: list[str]) -> Summary:
    """Turns hits into accuracies."""
    counts, hits = tally.counts.sum(axis=0), tally.curve.sum(axis=0)
    best = hits.argmax(axis=1)
    classes = [
        ClassAccuracies(
            label,
            class_names[label] if label < len(class_names) else "",
            _accuracies(tally.counts[i], tally.curve[i], best),
        )
        for i, label in enumerate(tally.classes.tolist())
        if tally.counts[i, Count.IMAGES]
    ]
    curve, best_threshold = [], None
    if counts[Count.MAPPED]:
        shares = hits / _images_of(counts)[:, None]
        best_threshold = float(thresholds[best[Measure.LARGEST_IOU50]])
        curve = [CurvePoint(float(t), *column) for t, column in zip(thresholds, shares.T.tolist(), strict=True)]
    return Summary(_accuracies(counts, hits, best), best_threshold, curve, classes)


def _images_of(counts: np.ndarray) -> np.ndarray:
    """Returns the number of images that each measure is a share of: those with a map, or all where the class counts."""
    images = np.full(len(Measure), counts[Count.MAPPED])
    images[[Measure.TOP1, Measure.TOP5]] = counts[Count.IMAGES]
    return images


def _accuracies(counts: np.ndarray, hits: np.ndarray, best: np.ndarray) -> Accuracies:
    """Counts (len(Count),), hits (len(Measure), t), places of the best thresholds (len(Measure),) -> accuracies."""

    def share(count: Count, of: Count, known: bool = True) -> float | None:
        return float(counts[count] / counts[of]) if counts[of] and known else None

    ranked, mapped = not counts[Count.UNRANKED], bool(counts[Count.MAPPED])
    at_best = hits[np.arange(len(best)), best] / np.maximum(_images_of(counts), 1)
    v2 = at_best[[Measure.ALL_IOU30, Measure.ALL_IOU50, Measure.ALL_IOU70]].mean()
    return Accuracies(
        images=int(counts[Count.IMAGES]),
        top1=share(Count.TOP1, Count.IMAGES),
        top5=share(Count.TOP5, Count.IMAGES, ranked),
        gt_known=share(Count.OWN, Count.BOXED),
        top1_loc=share(Count.OWN_TOP1, Count.IMAGES),
        top5_loc=share(Count.OWN_TOP5, Count.IMAGES, ranked),
        max_box_acc=float(at_best[Measure.LARGEST_IOU50]) if mapped else None,
        max_box_acc_v2=float(v2) if mapped else None,
        best_top1_loc=float(at_best[Measure.TOP1]) if mapped else None,
        best_top5_loc=float(at_best[Measure.TOP5]) if mapped and ranked else None,
    )


def tune(tally: TuningTally, thresholds: np.ndarray, normalizations: list[Normalization]) -> tuple[list[Tuned], Tuned]:
    """Finds the best thresholds, and what they are worth on images that did not take part in the choice.

    Returns:
      The best threshold for each normalization, and the best of all normalizations with its threshold.
    """
    images = tally.mapped.sum()
    v2 = (tally.all_contours.max(axis=2) / images).mean(axis=1)

    def choose(candidates: list[int]) -> Tuned:
        hits = tally.largest[candidates]
        row, column = np.unravel_index(hits.sum(axis=1).argmax(), (len(candidates), len(thresholds)))
        held_out = sum(hits[:, 1 - half].flat[hits[:, half].argmax()] for half in (0, 1))
        chosen = candidates[row]
        return Tuned(
            str(normalizations[chosen]),
            float(thresholds[column]),
            float(hits[row, :, column].sum() / images),
            float(held_out / images),
            float(v2[chosen]),
        )

    everything = list(range(len(normalizations)))
    return [choose([i]) for i in everything], choose(everything)
