"""Peak memory and seconds of `cambeam report` on a synthetic output, a million rows unless told otherwise.

    python benchmarks/report_million.py [ROWS [FOLDER]]

Writes an output of ROWS rows, 1,000 classes, half of them labelled, with a few small thumbnails repeated, then runs the
command in a process of its own. With 1,000,000 rows it needs some 4 GB of disk, most of it for the gallery's
100,000 thumbnails as files.
"""

import dataclasses
import hashlib
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.output.layout import Layout
from transforms.output.plan import write_plan
from transforms.output.schema import image_schema
from transforms.output.settings import OutputSettings
from transforms.records import Shard, ShardDone
from transforms.store import files as store

SHARD_ROWS, NUM_CLASSES, ROW_GROUP_ROWS = 10_000, 1000, 512


def main() -> None:
    num_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        started = time.monotonic()
        write_output(folder / "labels", num_rows)
        print(f"{num_rows} synthetic rows written in {time.monotonic() - started:.0f} s")
        started = time.monotonic()
        words = ["report", "--predictions", str(folder / "labels"), "--output", str(folder / "report")]
        subprocess.run([sys.executable, "-m", "pipeline", *words], check=True)
        seconds = time.monotonic() - started
        peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        files = [path.stat().st_size for path in (folder / "report").rglob("*") if path.is_file()]
        print(f"report of {num_rows} rows: {seconds:.0f} s, peak memory {peak_mib:.0f} MiB")
        print(f"report folder: {len(files)} files, {sum(files) / 2**20:.0f} MiB")


def write_output(root: pathlib.Path, num_rows: int) -> None:
    layout, shards = Layout(str(root)), []
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (32, 14, 14, 3), dtype=np.uint8)
    thumbnails = [cv2.imencode(".jpg", cv2.resize(image, (224, 224)))[1].tobytes() for image in noise]
    for first in range(0, num_rows, SHARD_ROWS):
        name = f"shard-{first // SHARD_ROWS:05d}"
        shard = Shard(name, f"/data/{name}.tar", "webdataset", "v", 1)
        shards.append(shard)
        rows = shard_table(shard, np.arange(first, min(first + SHARD_ROWS, num_rows)), thumbnails, rng)
        for path in (layout.images(shard.shard_id), layout.marker(shard.shard_id)):
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, layout.images(shard.shard_id), compression="zstd", row_group_size=ROW_GROUP_ROWS)
        done = ShardDone(shard.shard_id, shard.uri, "v", "f", len(rows), len(rows), 0, seconds={"predict": 50.0})
        pathlib.Path(layout.marker(shard.shard_id)).write_text(json.dumps(dataclasses.asdict(done)))
    write_plan(layout.plan, shards, f"{layout.plan}.part")
    store.write_json(
        layout.class_names, [f"class number {i}" for i in range(NUM_CLASSES)], f"{layout.class_names}.part"
    )


def shard_table(shard: Shard, numbers: np.ndarray, thumbnails: list[bytes], rng: np.random.Generator) -> pa.Table:
    schema, count = image_schema({}, OutputSettings()), len(numbers)
    ids = [f"image-{number:08d}" for number in numbers]
    classes = (NUM_CLASSES * rng.random(count) ** 2).astype(np.int32)  # some classes are seen far more often
    right = rng.random(count) < 0.8
    labels = np.where(right, classes, rng.integers(0, NUM_CLASSES, count)).astype(np.int32)
    low, high = rng.uniform(0, 200, (2, count)), rng.uniform(250, 500, (2, count))
    box_type = schema.field("box").type
    sides = [pa.array(side, pa.float32()) for side in (low[0], low[1], high[0], high[1], rng.random(count))]
    pictures = pa.array(thumbnails).take(pa.array(numbers % len(thumbnails)))
    columns = {
        "image_id": ids,
        "shard_id": [shard.shard_id] * count,
        "uri": [f"{shard.uri}#{image_id}.jpg" for image_id in ids],
        "index_in_shard": np.arange(count, dtype=np.int32),
        "width": np.full(count, 500, np.int32),
        "height": np.full(count, 500, np.int32),
        "sha256": [hashlib.sha256(image_id.encode()).hexdigest() for image_id in ids],
        "label": pa.array(labels, mask=rng.random(count) < 0.5),
        "class_index": classes,
        "class_name": [f"class number {index}" for index in classes],
        "probability": np.where(right, 1 - rng.random(count) ** 3, rng.random(count)).astype(np.float32),
        "box": pa.StructArray.from_arrays(sides, fields=list(box_type)),
        "predictions": pa.array([[]] * count, schema.field("predictions").type),
        "thumbnail": pa.StructArray.from_arrays(
            [pictures, pa.nulls(count, pa.string())], fields=list(schema.field("thumbnail").type)
        ),
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


if __name__ == "__main__":
    main()
