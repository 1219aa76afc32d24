"""An evaluation as tables, in text and in Markdown."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import rich.box
import rich.console
import rich.table

from pipeline.console import say
from pipeline.evaluate.curve import CURVE_FILE
from pipeline.evaluate.evaluation import Evaluation

_COUNTS = {
    "no_truth": "rows are not in the truth, and are left out",
    "ambiguous": "rows share an image_id that the truth names, and are left out: write shard_id/image_id in the truth",
    "several_classes": "rows have true boxes of several classes, none of them their own label, and are left out",
    "other_label": "rows have another label than the truth says; the truth is believed",
    "no_prediction": "images have no prediction of their true class (see cam.include_label): GT-known leaves them out",
    "no_map": "images have no map of their true class (see output.cams): the curve leaves them out",
    "beyond_image": "images have a true box that ends outside: true boxes are in pixels of the original",
    "not_predicted": "images of the truth are not among the rows",
}
_LINES = (
    ("top-1 classification", "top1"),
    ("top-5 classification", "top5"),
    ("GT-known localisation, the run's boxes", "gt_known"),
    ("top-1 localisation, the run's boxes", "top1_loc"),
    ("top-5 localisation, the run's boxes", "top5_loc"),
    ("MaxBoxAcc, best threshold", "max_box_acc"),
    ("MaxBoxAccV2, best thresholds", "max_box_acc_v2"),
    ("top-1 localisation, best threshold", "best_top1_loc"),
    ("top-5 localisation, best threshold", "best_top5_loc"),
)
_CLASS_COLUMNS = {
    "top-1": "top1",
    "top-5": "top5",
    "GT-known": "gt_known",
    "top-1 loc": "top1_loc",
    "MaxBoxAcc": "max_box_acc",
    "V2": "max_box_acc_v2",
}
_CURVE_HEADS = ("threshold", "0.3", "0.5", "0.7", "all 0.3", "all 0.5", "all 0.7", "top-1", "top-5")
_TUNED_HEADS = ("normalization", "threshold", "GT-known", "held out", "MaxBoxAccV2")


class _Table(NamedTuple):
    title: str
    heads: tuple[str, ...]
    rows: list[list[str]]


def notes(result: Evaluation) -> list[str]:
    """Returns what to know before trusting the figures, one line each."""
    incomplete = f"{result.about['predictions']} is not complete: this is of the shards that are done"
    counted = [f"{result.counts[name]} {text}" for name, text in _COUNTS.items() if result.counts[name]]
    return counted if result.about["complete"] else [incomplete, *counted]


def write_text(result: Evaluation, console: rich.console.Console, most_rows: int | None = None) -> None:
    """Prints the tables; of those with more than `most_rows` rows only the titles."""
    for table in _tables(result):
        if most_rows is not None and len(table.rows) > most_rows:
            say(console, f"{table.title}: {len(table.rows)} rows, written with --output")
            continue
        view = rich.table.Table(
            title=table.title, title_justify="left", box=rich.box.SIMPLE, show_edge=False, pad_edge=False
        )
        for i, head in enumerate(table.heads):
            view.add_column(head, justify="right" if i else "left", no_wrap=True)
        for row in table.rows:
            view.add_row(*row)
        console.print(view)


def markdown(result: Evaluation) -> str:
    """Returns the tables as Markdown."""
    parts = ["# Evaluation\n", *(f"* {note}\n" for note in notes(result))]
    for table in _tables(result):
        lines = [table.heads, ("---", *("---:" for _ in table.heads[1:])), *table.rows]
        parts.append(f"\n## {table.title}\n\n")
        parts += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines]
    if result.curve:
        parts.append(f"\n![accuracy by threshold]({CURVE_FILE})\n")
    return "".join(parts)


def _tables(result: Evaluation) -> Iterator[_Table]:
    overall = result.overall
    lines = [[name, _percent(getattr(overall, key))] for name, key in _LINES]
    if result.best_threshold_frac is not None:
        lines.insert(6, ["  at threshold", f"{result.best_threshold_frac:.3g}"])
    boxes = result.about["boxes"]
    made = f"boxes: {boxes['normalization']} {boxes['threshold_frac']:g}; curve: {result.about['curve_normalization']}"
    yield _Table(f"{overall.images} images, {made}", ("measure", "%"), lines)
    if result.best:
        rows = [[t.normalization, f"{t.threshold_frac:.3g}", *_percents(t)] for t in result.tuned]
        rows.append(
            [f"best: {result.best.normalization}", f"{result.best.threshold_frac:.3g}", *_percents(result.best)]
        )
        yield _Table("Tuning; held out: each half of the images at what is best on the other", _TUNED_HEADS, rows)
    if result.curve:
        rows = [[f"{p.threshold_frac:.3g}", *map(_percent, dataclasses.astuple(p)[1:])] for p in result.curve]
        yield _Table("By threshold: largest contour at IoU, all contours, right class as well", _CURVE_HEADS, rows)
    rows = [
        [f"{c.label} {c.class_name}", str(c.accuracies.images)]
        + [_percent(getattr(c.accuracies, key)) for key in _CLASS_COLUMNS.values()]
        for c in result.classes
    ]
    yield _Table("By class, at the thresholds best for all", ("class", "images", *_CLASS_COLUMNS), rows)


def _percents(tuned: Any) -> list[str]:
    return [_percent(value) for value in (tuned.gt_known, tuned.held_out, tuned.max_box_acc_v2)]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
