"""`cambeam report`: an output, or two models' outputs of the same images, as a static page that opens from disk."""

import importlib.resources
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import rich.console
import rich.progress

from pipeline.exit_code import ExitCode
from pipeline.report import compare as report_compare
from pipeline.report import figures as report_figures
from pipeline.report import gallery as report_gallery
from pipeline.report import rows as report_rows
from pipeline.report.compare import Pairs
from pipeline.report.rows import Rows
from pipeline.rows.output import Output, open_output
from transforms.errors import UserError
from transforms.store import files as store

GALLERY_IMAGES = 100_000
PAGE_FILES = ("report.css", "charts.js", "gallery.js", "detail.js", "sections.js", "report.js", "index.html")
_MADE_HERE = ("index.html", "data", "thumbnails", "thumbnails-other")


def report(
    predictions: str, output: str, compare: str | None, gallery_images: int, console: rich.console.Console
) -> ExitCode:
    """Writes the report of an output and prints its path.

    Args:
      predictions: the output of a run.
      output: a new folder, or that of an earlier report, which is replaced.
      compare: another output over the same images.
      gallery_images: of more images than this, the gallery shows a sample of this size.

    Raises:
      UserError: an input is not the output of a run; the output is not a folder for a report.
    """
    page = write_report(predictions, output, compare, gallery_images, console)
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
    return ExitCode.DONE


def write_report(
    predictions: str,
    output: str,
    compare: str | None = None,
    gallery_images: int = GALLERY_IMAGES,
    console: rich.console.Console | None = None,
) -> str:
    """Writes the report of an output and returns the path of its page; see `report`."""
    if gallery_images < 1:
        raise UserError(f"--gallery-images must be at least 1, got {gallery_images}")
    this = open_output(predictions)
    other = open_output(compare) if compare else None
    _prepare(output)
    with _progress(console) as step:
        rows = report_rows.read_rows(this, step("reading", this))
        other_rows = report_rows.read_rows(other, step("reading the other", other)) if other else None
        pairs = report_compare.pair(rows, other_rows) if other_rows else None
        if pairs and len(rows.image) and not (pairs.row >= 0).any():
            raise UserError(f"{predictions!r} and {compare!r} have no image in common")
        class_keys = _class_keys(rows, pairs)
        chosen = report_gallery.choose(rows, gallery_images, pairs)
        pages = report_gallery.write_pages(
            output, this, rows, chosen, class_keys, pairs, step("drawing the gallery", this)
        )
        if other and pairs:
            report_gallery.write_other_thumbnails(output, other, pairs, chosen, step("and the other's", other))
    summary = _summary(this, rows, class_keys, pairs) | {"gallery": {"images": len(chosen), "pages": pages}}
    if other and other_rows and pairs:
        summary["compare"] = report_compare.figures(rows, other_rows, pairs, class_keys)
        summary["other"] = _about(other)
    report_gallery.write_script(os.path.join(output, "data", "summary.js"), "start", summary)
    _copy_page(output, PAGE_FILES[-1])
    return os.path.join(os.path.abspath(output), PAGE_FILES[-1])


def _prepare(output: str) -> None:
    """Makes the output a folder with the page's code; index.html comes last, when all that it needs is there."""
    if not store.is_local(output):
        raise UserError(f"--output must be a local folder, got {output!r}: write the report here, then copy it there")
    if os.path.exists(output) and not os.path.isdir(output):
        raise UserError(f"the output {output!r} is a file, expected a folder")
    os.makedirs(output, exist_ok=True)
    if os.listdir(output) and not os.path.exists(os.path.join(output, PAGE_FILES[0])):
        raise UserError(f"the output {output!r} is not empty and not a report: choose another --output")
    for name in _MADE_HERE:
        path = os.path.join(output, name)
        shutil.rmtree(path) if os.path.isdir(path) else store.delete(path)
    for name in PAGE_FILES[:-1]:
        _copy_page(output, name)


def _copy_page(output: str, name: str) -> None:
    content = importlib.resources.files("pipeline.report").joinpath("page", name).read_bytes()
    with open(os.path.join(output, name), "wb") as file:
        file.write(content)


def _class_keys(rows: Rows, pairs: Pairs | None) -> np.ndarray:
    """Returns the indices of all classes that a row names, ascending; the page knows classes by their place here."""
    every = [np.array(list(rows.names), np.int64), rows.class_index, rows.label[rows.labelled]]
    if pairs:
        every += [np.array(list(pairs.names), np.int64), pairs.class_index[pairs.row >= 0]]
    return np.unique(np.concatenate(every))


def _summary(this: Output, rows: Rows, class_keys: np.ndarray, pairs: Pairs | None) -> dict:
    """Returns everything that the page shows but for the gallery."""
    names = pairs.names if pairs else rows.names
    return {
        "about": _about(this),
        "totals": report_figures.totals(this, rows),
        "distributions": report_figures.distributions(rows),
        "classes": {
            "index": class_keys.tolist(),
            "name": [names.get(int(key), f"class {key}") for key in class_keys],
            **report_figures.class_table(rows, class_keys),
        },
        "confusions": report_figures.confusions(rows, class_keys),
        "rejects": report_figures.rejects(this),
        "shards": [{"id": shard.shard_id, "uri": shard.uri} for shard in this.done.values()],
    }


def _about(output: Output) -> dict:
    """Returns how an output was made."""
    summary = output.summary
    return {
        "path": output.layout.root if not store.is_local(output.layout.root) else os.path.abspath(output.layout.root),
        "model": summary.get("model", {}).get("name"),
        "version": summary.get("cambeam_version"),
        "fingerprint": summary.get("fingerprint"),
        "finished": summary.get("finished"),
        "precisions": summary.get("precisions", []),
        "devices": summary.get("devices", []),
        "config": summary.get("config") or output.settings.get("config", {}),
    }


@contextmanager
def _progress(console: rich.console.Console | None) -> Iterator[Callable[[str, Output], Callable[[], None]]]:
    """Shows shards done on a terminal; yields a function that begins a step and returns what to call per shard."""
    shown = console if console and console.is_terminal else None
    with rich.progress.Progress(console=shown, transient=True, disable=shown is None) as progress:

        def step(name: str, output: Output) -> Callable[[], None]:
            task = progress.add_task(name, total=len(output.with_rows))
            return lambda: progress.advance(task)

        yield step
