"""Peak memory and seconds of `cambeam export` over a synthetic output of a million rows.

    python -m benchmarks.export_million --rows 1000000 --folder /tmp/export-million

The rows have random classes, probabilities, boxes and maps; the images, which only WebDataset reads, are all the same
pixel. What is written is deleted as soon as it is measured (YOLO and VOC make a file per image, 4 GB on most disks).
"""

import argparse
import dataclasses
import hashlib
import io
import os
import shutil
import sys
import tarfile
import time

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.output.layout import Layout
from transforms.output.plan import write_plan
from transforms.output.schema import image_schema
from transforms.output.settings import OutputSettings
from transforms.records import Shard, ShardDone
from transforms.store import files as store

SHARD_ROWS, NUM_CLASSES = 50_000, 1000
SIDE_PX = 256
FINGERPRINT = "synthetic"
MEASURED = (
    ["--format", "coco"],
    ["--format", "coco", "--top-per-class", "100"],
    ["--format", "csv"],
    ["--format", "yolo"],
    ["--format", "voc"],
    ["--format", "webdataset"],
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", default="/tmp/export-million")
    parser.add_argument("--formats", nargs="+", default=["coco", "csv", "yolo", "voc", "webdataset"])
    arguments = parser.parse_args()
    output = os.path.join(arguments.folder, "labels")
    if not os.path.exists(output):
        write_output(output, os.path.join(arguments.folder, "shards"), arguments.rows)
    print(f"{'export':40} {'seconds':>8} {'CPU s':>8} {'peak MB':>8}")
    for options in (options for options in MEASURED if options[1] in arguments.formats):
        exported = os.path.join(arguments.folder, "exported")
        command = ["-m", "pipeline", "export", "--predictions", output, "--output", exported]
        started = time.monotonic()
        child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *command, *options])
        _, status, usage = os.wait4(child, 0)
        seconds, cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
        if status:
            sys.exit(f"export {' '.join(options)} failed")
        print(f"{' '.join(options):40} {seconds:8.0f} {cpu:8.0f} {usage.ru_maxrss * 1024 / 1e6:8.0f}", flush=True)
        shutil.rmtree(exported)


def write_output(output: str, inputs: str, rows: int) -> None:
    """Writes an output as a run leaves it, and the tar files it speaks of."""
    layout, shards = Layout(output), []
    encoded = _pixel()
    for number, first in enumerate(range(0, rows, SHARD_ROWS)):
        count = min(SHARD_ROWS, rows - first)
        path = os.path.join(inputs, f"images-{number:05d}.tar")
        _write_tar(path, range(first, first + count), encoded)
        shard = Shard(f"images-{number:05d}-0", path, "webdataset", "1", os.path.getsize(path))
        shards.append(shard)
        table = _rows(shard, first, count, hashlib.sha256(encoded).hexdigest())
        os.makedirs(os.path.dirname(layout.images(shard.shard_id)), exist_ok=True)
        pq.write_table(table, layout.images(shard.shard_id), row_group_size=512, compression="zstd")
        done = ShardDone(shard.shard_id, shard.uri, shard.version, FINGERPRINT, count, count, 0)
        _write_json(layout.marker(shard.shard_id), dataclasses.asdict(done))
    _write_json(layout.settings, {"config": {"input": {"image_field": None, "label_field": None, "id_field": None}}})
    _write_json(layout.class_names, [f"kind {index}" for index in range(NUM_CLASSES)])
    write_plan(layout.plan, shards, f"{layout.plan}.part")
    store.write_bytes(layout.success, b"", f"{layout.success}.part")


def _rows(shard: Shard, first: int, count: int, sha256: str) -> pa.Table:
    rng = np.random.default_rng(first)
    class_index = rng.integers(0, NUM_CLASSES, count, np.int32)
    probability, score = rng.random((2, count), np.float32)
    left_top = rng.uniform(0, SIDE_PX / 2, (count, 2)).astype(np.float32)
    right_bottom = left_top + rng.uniform(1, SIDE_PX / 2, (count, 2)).astype(np.float32)
    corners = dict(zip(("x0", "y0", "x1", "y1"), np.concatenate([left_top, right_bottom], 1).T.copy(), strict=True))
    schema = image_schema({}, OutputSettings(), thumbnails=False)
    offsets = np.arange(count + 1, dtype=np.int32)
    names = np.char.add("kind ", class_index.astype(str))
    box = pa.StructArray.from_arrays([*map(pa.array, corners.values()), score], fields=list(schema.field("box").type))
    area_frac = np.full(count, 0.1, np.float32)
    prediction_type = schema.field("predictions").type.value_type
    box_type = prediction_type.field("boxes").type.value_type
    boxes = pa.StructArray.from_arrays([*map(pa.array, corners.values()), score, area_frac], fields=list(box_type))
    predictions = {
        "class_index": class_index,
        "class_name": names,
        "probability": probability,
        "logit": probability,
        "rank": np.zeros(count, np.int32),
        "cam": pa.ListArray.from_arrays(offsets * 49, rng.random(count * 49, np.float32)),
        "cam_height": np.full(count, 7, np.int32),
        "cam_width": np.full(count, 7, np.int32),
        "boxes": pa.ListArray.from_arrays(offsets, boxes),
    }
    structs = pa.StructArray.from_arrays(
        [pa.array(predictions[field.name], field.type) for field in prediction_type], fields=list(prediction_type)
    )
    ids = [_image_id(number) for number in range(first, first + count)]
    columns = {
        "image_id": ids,
        "shard_id": [shard.shard_id] * count,
        "uri": [f"{shard.uri}#{image_id}.png" for image_id in ids],
        "index_in_shard": np.arange(count, dtype=np.int32),
        "width": np.full(count, SIDE_PX, np.int32),
        "height": np.full(count, SIDE_PX, np.int32),
        "sha256": [sha256] * count,
        "label": class_index,
        "class_index": class_index,
        "class_name": names,
        "probability": probability,
        "box": box,
        "predictions": pa.ListArray.from_arrays(offsets, structs),
    }
    missing = pa.nulls(count)
    return pa.table([pa.array(columns.get(field.name, missing), field.type) for field in schema], schema=schema)


def _image_id(number: int) -> str:
    return f"image-{number:08d}"


def _pixel() -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (1, 1)).save(file, "PNG")
    return file.getvalue()


def _write_tar(path: str, numbers: range, encoded: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            member = tarfile.TarInfo(f"{_image_id(number)}.png")
            member.size = len(encoded)
            tar.addfile(member, io.BytesIO(encoded))
            tar.members = []


def _write_json(path: str, value) -> None:
    store.write_json(path, value, f"{path}.part")


if __name__ == "__main__":
    main()
