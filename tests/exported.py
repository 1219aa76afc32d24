"""Outputs as a run leaves them, made without a model, for the tests of what people do with them."""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import tarfile
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.output.layout import Layout
from transforms.output.plan import read_plan, write_plan
from transforms.output.schema import image_schema
from transforms.output.settings import OutputSettings
from transforms.records import Shard, ShardDone
from transforms.store import files as store

CLASS_NAMES = ["cat", "dog", "sparrow, house sparrow", "eagle"]


class Labelled(NamedTuple):
    """An image and what was predicted of it.

    Attributes:
      predictions: (class index, probability, boxes as (x0, y0, x1, y1, score)), the most probable first.
    """

    image_id: str
    predictions: list[tuple[int, float, list[tuple[float, ...]]]]
    width: int = 40
    height: int = 30
    consistency: float | None = None


def png(seed: int, width: int = 40, height: int = 30) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_output(folder, shards: dict[str, list[Labelled]], as_files: bool = False, consistency: bool = False) -> str:
    """Writes shards (tar files, or folders of image files), and the output that labels them; returns its path."""
    layout = Layout(str(folder / "labels"))
    for shard_id, images in shards.items():
        names = [f"{image.image_id}.png" if as_files else f"{index:04d}.png" for index, image in enumerate(images)]
        contents = [png(hash_of(image), image.width, image.height) for image in images]
        files = dict(zip(names, contents, strict=True))
        shard = _write_files(folder, shard_id, files) if as_files else _write_tar(folder, shard_id, files)
        _write_rows(layout, shard, images, files)
        commit(layout, shard, len(images))
    fields = {"image_field": None, "label_field": None, "id_field": None}
    _write_json(layout.settings, {"model": "made", "config": {"input": fields, "cam": {"flip": consistency}}})
    _write_json(layout.class_names, CLASS_NAMES)
    store.write_bytes(layout.success, b"", f"{layout.success}.part")
    return layout.root


def commit(layout: Layout, shard: Shard, written: int, rejected: int = 0, **more) -> None:
    """Adds a shard to the plan, and writes its marker."""
    write_plan(layout.plan, [*read_plan(layout.plan), shard], f"{layout.plan}.part")
    counts = written + rejected, written, rejected
    done = ShardDone(shard.shard_id, shard.uri, shard.version, "made", *counts, precision="float32", **more)
    _write_json(layout.marker(shard.shard_id), dataclasses.asdict(done))


def hash_of(image: Labelled) -> int:
    return int(hashlib.sha256(repr(image).encode()).hexdigest()[:8], 16)


def _write_files(folder, shard_id: str, files: dict[str, bytes]) -> Shard:
    root = folder / shard_id
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Shard(shard_id, str(root), "images", "1", 1, tuple(files))


def _write_tar(folder, shard_id: str, files: dict[str, bytes]) -> Shard:
    folder.mkdir(exist_ok=True)
    path = folder / f"{shard_id}.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return Shard(shard_id, str(path), "webdataset", "1", 1)


def _write_rows(layout: Layout, shard: Shard, images: list[Labelled], files: dict[str, bytes]) -> None:
    schema = image_schema({}, OutputSettings(), thumbnails=False)
    rows = [
        _row(shard, index, image, name, hashlib.sha256(content).hexdigest())
        for index, (image, (name, content)) in enumerate(zip(images, files.items(), strict=True))
    ]
    table = pa.Table.from_pylist(rows, schema)
    os.makedirs(os.path.dirname(layout.images(shard.shard_id)), exist_ok=True)
    pq.write_table(table, layout.images(shard.shard_id), row_group_size=2)


def _row(shard: Shard, index: int, image: Labelled, member: str, sha256: str) -> dict[str, Any]:
    top, probability, boxes = image.predictions[0]
    corners = ("x0", "y0", "x1", "y1", "score")
    return {
        "consistency": image.consistency,
        "image_id": image.image_id,
        "shard_id": shard.shard_id,
        "uri": f"{shard.uri}/{member}" if shard.members else f"{shard.uri}#{member}",
        "index_in_shard": index,
        "width": image.width,
        "height": image.height,
        "sha256": sha256,
        "class_index": top,
        "class_name": CLASS_NAMES[top],
        "probability": probability,
        "box": dict(zip(corners, boxes[0], strict=True)) if boxes else None,
        "predictions": [
            {
                "class_index": class_index,
                "class_name": CLASS_NAMES[class_index],
                "probability": probability,
                "logit": 0.0,
                "rank": rank,
                "cam": [0.0] * 4,
                "cam_height": 2,
                "cam_width": 2,
                "boxes": [dict(zip(corners, box, strict=True)) | {"area_frac": 0.1} for box in boxes],
            }
            for rank, (class_index, probability, boxes) in enumerate(image.predictions)
        ],
    }


def _write_json(path: str, value) -> None:
    store.write_json(path, value, f"{path}.part")


def read_json(path) -> Any:
    return json.loads(pathlib.Path(path).read_text())
