"""`cambeam demo`: generated scenes with known boxes, labelled with the built-in model, and a table of how well."""

import csv
import io
import os
import tarfile
import time

import cv2
import rich.console
import rich.table

from pipeline import config
from pipeline.demo import scenes
from pipeline.evaluate.evaluation import EvaluateFlags, evaluate_output
from pipeline.exit_code import ExitCode
from pipeline.report.command import write_report
from pipeline.run.command import run
from pipeline.run.labelling import RunFlags

NUM_SCENES, NUM_SHARDS = 64, 2
# what configs/demo.yaml says; the file is not part of an installed package
SETTINGS = {"model": {"source": "demo"}, "boxes": {"normalization": "minmax", "threshold_frac": 0.6}}


def demo(output: str, console: rich.console.Console) -> ExitCode:
    """Runs the demo into a folder and prints its table."""
    shards, truth_path = write_scenes(os.path.join(output, "scenes"))
    labels = os.path.join(output, "labels")
    settings = config.parse({**SETTINGS, "input": {"pattern": shards}, "output": {"path": labels}})
    started = time.monotonic()
    code = run(settings, [], RunFlags(), console)
    if code == ExitCode.DONE:
        seconds = time.monotonic() - started
        page = write_report(labels, os.path.join(output, "report"), console=console)
        console.print(_table(labels, truth_path, page, seconds))
    return code


def write_scenes(folder: str) -> tuple[list[str], str]:
    """Writes the demo's scenes as WebDataset shards and their boxes as truth.csv; returns the paths."""
    os.makedirs(folder, exist_ok=True)
    truth_path = os.path.join(folder, "truth.csv")
    shards = [os.path.join(folder, f"scenes-{number:03d}.tar") for number in range(NUM_SHARDS)]
    if os.path.exists(truth_path):  # kept from an earlier demo: new files would be labelled again
        return shards, truth_path
    per_shard = NUM_SCENES // NUM_SHARDS
    boxes: list[list] = [["image_id", "label", "x0", "y0", "x1", "y1"]]
    for number, path in enumerate(shards):
        with tarfile.open(path, "w") as tar:
            for seed in range(number * per_shard, (number + 1) * per_shard):
                scene = scenes.draw_scene(seed)
                image_id = f"scene-{seed:03d}"
                _add(tar, f"{image_id}.jpg", cv2.imencode(".jpg", scene.image[..., ::-1])[1].tobytes())
                _add(tar, f"{image_id}.cls", str(scene.label).encode())
                boxes.append([image_id, scene.label, *scene.box])
    with open(truth_path, "w", newline="") as truth:
        csv.writer(truth).writerows(boxes)
    return shards, truth_path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _table(labels: str, truth_path: str, page: str, seconds: float) -> rich.table.Table:
    result = evaluate_output(EvaluateFlags(labels, truth_path)).overall
    table = rich.table.Table("", "", title=f"{result.images} generated scenes", show_header=False)
    table.add_row("top-1 accuracy", f"{result.top1:.1%}")
    table.add_row("boxes with IoU >= 0.5", f"{result.top1_loc:.1%}")
    table.add_row("images/s", f"{result.images / seconds:.1f}, start-up included")
    table.add_row("Parquet", os.path.join(labels, "images"))
    table.add_row("report", page)
    table.add_row("scenes and true boxes", os.path.dirname(truth_path))
    return table
