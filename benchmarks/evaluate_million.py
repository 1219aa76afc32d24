"""Peak memory and time of `cambeam evaluate` on a synthetic output: `python -m benchmarks.evaluate_million`.

Writes rows with random 7x7 maps, whose contours are several times those of a photograph's, then runs the real command.
"""

import argparse
import dataclasses
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.output.layout import Layout
from transforms.output.plan import write_plan
from transforms.output.schema import image_schema
from transforms.output.settings import OutputSettings
from transforms.records import Shard, ShardDone
from transforms.store import files as store

SIZE_PX, CLASSES, ROWS_PER_FILE, ROWS_PER_GROUP = 500, 1000, 50_000, 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--step", default="0.05")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        predictions, truth = os.path.join(folder, "labels"), os.path.join(folder, "truth.csv")
        write_output(predictions, truth, arguments.rows)
        command = ["--predictions", predictions, "--truth", truth, "--step", arguments.step]
        started = time.monotonic()
        peak_mb = 0.0
        with subprocess.Popen([sys.executable, "-m", "pipeline", "evaluate", *command]) as process:
            while process.poll() is None:
                peak_mb = max(peak_mb, tree_mb(process.pid))
                time.sleep(0.2)
        seconds = time.monotonic() - started
    print(f"{arguments.rows} rows in {seconds:.0f} s ({arguments.rows / seconds:.0f} rows/s)")
    print(f"peak memory {peak_mb:.0f} MB, all processes together")
    sys.exit(process.returncode)


def tree_mb(pid: int) -> float:
    """Returns the resident memory of a process and its children (Linux); what they share counts for each."""
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
        return 0.0
    return pages * resource.getpagesize() / 2**20 + sum(tree_mb(int(child)) for child in children)


def write_output(folder: str, truth_path: str, rows: int) -> None:
    config = {
        "model": {"resize": "squash"},
        "cam": {"top_k": 1, "include_label": True},
        "boxes": {"normalization": "minmax", "threshold_frac": 0.2},
    }
    schema = image_schema({"config": config}, OutputSettings(), thumbnails=False)
    layout, shards = Layout(folder), []
    os.makedirs(os.path.join(folder, "images"))
    generator = np.random.default_rng(0)
    with open(truth_path, "w") as truth:
        truth.write("image_id,label,x0,y0,x1,y1\n")
        for start in range(0, rows, ROWS_PER_FILE):
            count = min(ROWS_PER_FILE, rows - start)
            shard = Shard(f"shard-{start:09d}", "", "webdataset", "1", 1)
            shards.append(shard)
            table, boxes = _rows(start, count, shard.shard_id, generator, schema)
            pq.write_table(table, layout.images(shard.shard_id), row_group_size=ROWS_PER_GROUP)
            done = ShardDone(shard.shard_id, shard.uri, shard.version, "synthetic", count, count, 0)
            marker = layout.marker(shard.shard_id)
            store.write_json(marker, dataclasses.asdict(done), f"{marker}.part")
            truth.writelines(
                f"image-{start + i:09d},{(start + i) % CLASSES},{','.join(map(str, box))}\n"
                for i, box in enumerate(boxes.tolist())
            )
    write_plan(layout.plan, shards, f"{layout.plan}.part")
    store.write_json(layout.class_names, [f"class {i}" for i in range(CLASSES)], f"{layout.class_names}.part")
    store.write_bytes(layout.success, b"\n", f"{layout.success}.part")


def _rows(
    start: int, count: int, shard_id: str, generator: np.random.Generator, schema: pa.Schema
) -> tuple[pa.Table, np.ndarray]:
    low = generator.integers(0, SIZE_PX // 2, (count, 2))
    boxes = np.concatenate([low, low + generator.integers(20, SIZE_PX // 2, (count, 2))], axis=1)
    label = np.arange(start, start + count, dtype=np.int32) % CLASSES
    names = [f"class {i}" for i in label]
    corners = [pa.array(column.astype(np.float32)) for column in boxes.T]
    score = pa.array(np.ones(count, np.float32))
    kind = schema.field("predictions").type.value_type
    box = pa.StructArray.from_arrays([*corners, score, score], fields=list(kind.field("boxes").type.value_type))
    ones = pa.array(np.arange(count + 1, dtype=np.int32))
    cams = generator.normal(size=count * 49).astype(np.float32)
    side = pa.array(np.full(count, 7, np.int32))
    prediction = pa.StructArray.from_arrays(
        [
            pa.array(label),
            pa.array(names),
            score,
            score,
            pa.array(generator.integers(0, 8, count, np.int32)),
            pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * 49), pa.array(cams)),
            side,
            side,
            pa.ListArray.from_arrays(ones, box),
        ],
        fields=list(kind),
    )
    columns = {
        "image_id": [f"image-{start + i:09d}" for i in range(count)],
        "shard_id": [shard_id] * count,
        "index_in_shard": np.arange(count),
        "width": np.full(count, SIZE_PX),
        "height": np.full(count, SIZE_PX),
        "label": label,
        "predictions": pa.ListArray.from_arrays(ones, prediction),
    }
    arrays = [
        pa.nulls(count, field.type)
        if field.name not in columns
        else columns[field.name]
        if field.name == "predictions"
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema), boxes


if __name__ == "__main__":
    main()
