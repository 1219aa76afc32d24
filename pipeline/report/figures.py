"""The figures of a report, as plain values for JSON. Each covers every row."""

import datetime
from collections import Counter
from typing import Any

import numpy as np

from pipeline.report.rows import Rows
from pipeline.rows.output import Output, open_parquet

BINS = 20  # of a histogram from 0 to 1
_CONFUSIONS = 12
_REJECT_KINDS, _REJECT_EXAMPLES = 40, 12


def totals(output: Output, rows: Rows) -> dict[str, Any]:
    """Returns the counts and the speed of the whole output."""
    known = rows.probability[np.isfinite(rows.probability)]
    return {
        "images": len(rows.image),
        "rejected": sum(shard.rejected for shard in output.done.values()),
        "shards": len(output.done),
        "planned": len(output.planned),
        "labelled": int(rows.labelled.sum()),
        "agree": int(rows.agrees.sum()),
        "boxes": int(np.isfinite(rows.box_px[:, 0]).sum()),
        "classesSeen": len(np.unique(rows.class_index)),
        "classes": output.summary.get("num_classes"),
        "medianProbability": _rounded(np.median(known)) if len(known) else None,
        "hasConsistency": bool(np.isfinite(rows.consistency).any()),
        "imagesPerSecond": _images_per_second(output),
        "seconds": _stage_seconds(output),
    }


def histogram(values: np.ndarray, *masks: np.ndarray) -> list[list[int]]:
    """Counts values in [0, 1] in bins of one width, once per mask.

    Args:
      values: (n,) float32; those that are not finite are left out.
      masks: (n,) bool; none stands for all values.
    """
    finite = np.isfinite(values)
    bins = np.clip((np.where(finite, values, 0) * BINS).astype(np.int64), 0, BINS - 1)
    return [np.bincount(bins[finite & mask], minlength=BINS).tolist() for mask in masks or [np.ones(len(values), bool)]]


def distributions(rows: Rows) -> dict[str, Any]:
    """Histograms of probability (by agreement with the label), box area and consistency."""
    by_agreement = [rows.agrees, rows.labelled & ~rows.agrees, ~rows.labelled]
    return {
        "probability": histogram(rows.probability, *by_agreement),
        "area": histogram(rows.area_frac),
        "consistency": histogram(rows.consistency),
    }


def class_table(rows: Rows, class_keys: np.ndarray) -> dict[str, Any]:
    """Figures of each class.

    Args:
      class_keys: (k,) int32, ascending: every index among predictions and labels.

    Returns:
      Lists of length k: images predicted, their mean probability, how many of them have a label, and how many of
      these agree; and how many images have the class as their label.
    """
    size = len(class_keys)
    place = np.searchsorted(class_keys, rows.class_index)
    images = np.bincount(place, minlength=size)
    mean = np.bincount(place, np.nan_to_num(rows.probability), size) / np.maximum(images, 1)
    label_place = np.searchsorted(class_keys, rows.label[rows.labelled])
    return {
        "images": images.tolist(),
        "probability": [_rounded(value) for value in mean],
        "labelled": np.bincount(place[rows.labelled], minlength=size).tolist(),
        "agree": np.bincount(place[rows.agrees], minlength=size).tolist(),
        "labels": np.bincount(label_place, minlength=size).tolist(),
    }


def confusions(rows: Rows, class_keys: np.ndarray) -> list[list[int]]:
    """The most frequent disagreements: places in class_keys of label and prediction, and their count."""
    wrong = rows.labelled & ~rows.agrees
    pairs = np.searchsorted(class_keys, np.stack([rows.label[wrong], rows.class_index[wrong]], 1))
    kinds, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_CONFUSIONS]
    return [[*kinds[i].tolist(), int(counts[i])] for i in order]


def rejects(output: Output) -> list[dict[str, Any]]:
    """Rejects by kind, the most frequent first, with the first few of each as examples."""
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[dict[str, str]]] = {}
    for shard in output.done.values():
        if not shard.rejected:
            continue
        with open_parquet(output.layout.rejects(shard.shard_id)) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    kind = (row["error_type"], row["stage"])
                    counts[kind] += 1
                    kept = examples.setdefault(kind, [])
                    if len(kept) < _REJECT_EXAMPLES:
                        kept.append({"id": row["image_id"], "uri": row["uri"], "message": row["message"]})
    return [
        {"kind": kind, "stage": stage, "count": count, "examples": examples[kind, stage]}
        for (kind, stage), count in counts.most_common(_REJECT_KINDS)
    ]


def _stage_seconds(output: Output) -> dict[str, float]:
    seconds: Counter[str] = Counter()
    for shard in output.done.values():
        seconds.update(shard.seconds)
    return {stage: round(value, 3) for stage, value in seconds.items()}


def _images_per_second(output: Output) -> float | None:
    """Speed of the last run by the clock, start-up included. The run's id says when it started."""
    run_id = output.summary.get("run_id", "")
    images = sum(shard.written for shard in output.done.values() if shard.run_id == run_id)
    try:
        started = datetime.datetime.strptime(run_id.partition("-")[0], "%Y%m%dT%H%M%S%z")
        seconds = (datetime.datetime.fromisoformat(output.summary["finished"]) - started).total_seconds()
    except (KeyError, ValueError):
        return None
    return round(images / seconds, 1) if images and seconds > 0 else None


def _rounded(value: float) -> float:
    return round(float(value), 6)  # digits of probabilities near 1 matter
