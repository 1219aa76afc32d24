"""`cambeam report`: an output, or two models' outputs of the same images, as a static page that opens from disk."""

import importlib.resources
import os
import shutil
from typing import Any

import numpy as np
import rich.console

from pipeline.console import progress, say
from pipeline.exit_code import ExitCode
from pipeline.report import figures
from pipeline.report.comparison import Pairs, compare_models, pair
from pipeline.report.gallery import choose, write_other_thumbnails, write_pages, write_script
from pipeline.report.rows import Rows, read_rows
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
      gallery_images: how many images the gallery shows at most, a sample if there are more.

    Raises:
      UserError: an input is not the output of a run; the output is not a folder for a report.
    """
    page = write_report(predictions, output, compare, gallery_images, console)
    say(console, f"report: {page}")
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
    pairs = None
    with progress(console) as begin:
        rows = read_rows(this, begin("reading", len(this.with_rows)))
        if other:
            other_rows = read_rows(other, begin("reading the other", len(other.with_rows)))
            pairs = pair(rows, other_rows, this.class_names, other.class_names)
            if len(rows.image) and not pairs.found.any():
                raise UserError(f"{predictions!r} and {compare!r} have no image in common")
        class_keys = _class_keys(this, rows, pairs)
        chosen = choose(rows, gallery_images, pairs)
        drawing = begin("drawing the gallery", len(this.with_rows))
        pages = write_pages(output, this, rows, chosen, class_keys, pairs, drawing)
        if other and pairs:
            write_other_thumbnails(output, other, pairs, chosen, begin("and the other's", len(other.with_rows)))
    summary = _summary(this, rows, class_keys, pairs) | {"gallery": {"images": len(chosen), "pages": pages}}
    if other and pairs:
        summary |= {"compare": compare_models(rows, pairs, class_keys), "other": _about(other)}
    write_script(os.path.join(output, "data", "summary.js"), "start", summary)
    _copy_page(output, PAGE_FILES[-1])
    return os.path.join(os.path.abspath(output), PAGE_FILES[-1])


def _prepare(output: str) -> None:
    """Makes the output a folder with the page's code; index.html follows when everything else is there."""
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


def _class_keys(output: Output, rows: Rows, pairs: Pairs | None) -> np.ndarray:
    """Returns the indices of all classes and labels, ascending; the page knows classes by their place here."""
    names = list(pairs.names) if pairs else range(len(output.class_names))
    return np.union1d(np.array(names, np.int64), rows.label[rows.labelled])


def _summary(this: Output, rows: Rows, class_keys: np.ndarray, pairs: Pairs | None) -> dict[str, Any]:
    """Returns everything that the page shows except the gallery."""
    names = pairs.names if pairs else dict(enumerate(this.class_names))
    return {
        "about": _about(this),
        "totals": figures.totals(this, rows),
        "distributions": figures.distributions(rows),
        "classes": {
            "index": class_keys.tolist(),
            "name": [names.get(key, f"class {key}") for key in class_keys.tolist()],
            **figures.class_table(rows, class_keys),
        },
        "confusions": figures.confusions(rows, class_keys),
        "rejects": figures.rejects(this),
        "shards": [{"id": shard.shard_id, "uri": shard.uri} for shard in this.done.values()],
    }


def _about(output: Output) -> dict[str, Any]:
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
