"""The Arrow schema of the rows, and batches as Arrow tables."""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.output.settings import OutputSettings
from transforms.records import Box, Reject, ShardBatch

SCHEMA_VERSION = 1

_BEST_BOX = pa.struct([(name, pa.float32()) for name in ("x0", "y0", "x1", "y1", "score")])
_BOX = pa.struct([(name, pa.float32()) for name in ("x0", "y0", "x1", "y1", "score", "area_frac")])
_PREDICTION = pa.struct(
    [
        ("class_index", pa.int32()),
        ("class_name", pa.string()),
        ("probability", pa.float32()),
        ("logit", pa.float32()),
        ("rank", pa.int32()),
        ("cam", pa.list_(pa.float32())),
        ("cam_height", pa.int32()),
        ("cam_width", pa.int32()),
        ("boxes", pa.list_(_BOX)),
    ]
)
_THUMBNAIL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_IMAGE_COLUMNS = [
    ("image_id", pa.string()),
    ("shard_id", pa.string()),
    ("uri", pa.string()),
    ("index_in_shard", pa.int32()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("sha256", pa.string()),
    ("label", pa.int32()),
    ("class_index", pa.int32()),
    ("class_name", pa.string()),
    ("probability", pa.float32()),
    ("box", _BEST_BOX),
    ("consistency", pa.float32()),
    ("predictions", pa.list_(_PREDICTION)),
]
REJECT_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("index_in_shard", pa.int32()),
        ("stage", pa.string()),
        ("error_type", pa.string()),
        ("message", pa.string()),
    ]
)


def image_schema(metadata: dict[str, Any], settings: OutputSettings, thumbnails: bool = True) -> pa.Schema:
    """Returns the schema of the image rows, with the optional columns that are asked for.

    Args:
      metadata: kept as JSON under the file metadata's key "cambeam": how the rows were made.
      settings: which bulky columns there are.
      thumbnails: whether there is a column of them.
    """
    columns = list(_IMAGE_COLUMNS)
    if thumbnails:
        columns.append(("thumbnail", _THUMBNAIL))
    bulky = {"logits": settings.logits, "embedding": settings.embeddings, "activations": settings.activations}
    columns += [(name, pa.list_(pa.float32())) for name, wanted in bulky.items() if wanted]
    schema = pa.schema(columns)
    keys = {"cambeam": json.dumps({"schema_version": SCHEMA_VERSION, **metadata}, sort_keys=True)}
    if thumbnails:
        keys["huggingface"] = json.dumps({"info": {"features": _huggingface_features(schema)}})
    return schema.with_metadata(keys)


def _huggingface_features(schema: pa.Schema) -> dict[str, Any]:
    """Describes the columns to Hugging Face `datasets`, which otherwise would not know that thumbnails are images."""

    def feature(kind: pa.DataType) -> dict[str, Any]:
        if kind == _THUMBNAIL:
            return {"_type": "Image"}
        if pa.types.is_struct(kind):
            return {kind.field(i).name: feature(kind.field(i).type) for i in range(kind.num_fields)}
        if pa.types.is_list(kind):
            return {"feature": feature(kind.value_type), "_type": "List"}
        return {"dtype": {"float": "float32"}.get(str(kind), str(kind)), "_type": "Value"}

    return {field.name: feature(field.type) for field in schema}


def image_table(batch: ShardBatch, class_names: list[str], schema: pa.Schema, cams: bool = True) -> pa.Table:
    """Returns a labelled batch as rows of a schema that `image_schema` made.

    Args:
      batch: with predictions, boxes, and thumbnails where the schema has them.
      class_names: of all the model's classes.
      cams: keeps the class maps; otherwise they are null.
    """
    if not batch.images:
        return schema.empty_table()
    predictions, images = batch.labelled, batch.images
    names = pa.array(class_names, pa.string())
    top_class = pa.array(predictions.class_index[:, 0])
    columns = {
        "image_id": [image.image_id for image in images],
        "shard_id": [batch.shard.shard_id] * len(images),
        "uri": [image.uri for image in images],
        "index_in_shard": [image.index_in_shard for image in images],
        "width": [image.width for image in images],
        "height": [image.height for image in images],
        "sha256": [image.sha256 for image in images],
        "label": [image.label for image in images],
        "class_index": top_class,
        "class_name": names.take(top_class),
        "probability": predictions.probability[:, 0],
        "box": [boxes[0][0]._asdict() if boxes[0] else None for boxes in batch.boxes],
        "consistency": batch.consistency or [None] * len(images),
        "predictions": _predictions(batch, names, cams),
        "logits": predictions.logits,
        "embedding": predictions.embedding,
        "activations": predictions.activations,
    }
    if batch.thumbnails is not None:
        columns["thumbnail"] = [{"bytes": jpeg, "path": None} for jpeg in batch.thumbnails]
    return pa.table([_column(columns[field.name], field.type) for field in schema], schema=schema)


def reject_table(rejects: list[Reject]) -> pa.Table:
    """Returns rejects as rows of REJECT_SCHEMA."""
    return pa.Table.from_pylist([reject._asdict() for reject in rejects], REJECT_SCHEMA)


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values.cast(kind)
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return _lists(values.reshape(len(values), -1))
    return pa.array(values, kind)


def _lists(values: np.ndarray) -> pa.ListArray:
    """(n, m) float32 -> n lists of m."""
    rows, length = values.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * length
    return pa.ListArray.from_arrays(offsets, np.ascontiguousarray(values, np.float32).ravel())


def _predictions(batch: ShardBatch, names: pa.Array, keep_cams: bool) -> pa.ListArray:
    """Returns the list of class predictions of every image; places that hold no class are left out."""
    predictions = batch.labelled
    held = predictions.present
    class_index = pa.array(predictions.class_index[held])
    cams = predictions.cams[held]
    count, height, width = cams.shape
    boxes = [
        boxes for row, kept in zip(batch.boxes, held, strict=True) for boxes, k in zip(row, kept, strict=True) if k
    ]
    structs = pa.StructArray.from_arrays(
        [
            class_index,
            names.take(class_index),
            pa.array(predictions.probability[held]),
            pa.array(predictions.logit[held]),
            pa.array(predictions.rank[held]),
            _lists(cams.reshape(count, -1)) if keep_cams else pa.nulls(count, pa.list_(pa.float32())),
            pa.array(np.full(count, height, np.int32)),
            pa.array(np.full(count, width, np.int32)),
            _boxes(boxes),
        ],
        fields=list(_PREDICTION),
    )
    return pa.ListArray.from_arrays(_offsets(held.sum(axis=1)), structs)


def _boxes(boxes: list[list[Box]]) -> pa.ListArray:
    flat = np.array(list(chain.from_iterable(boxes)), np.float32).reshape(-1, _BOX.num_fields)
    structs = pa.StructArray.from_arrays([pa.array(column) for column in flat.T.copy()], fields=list(_BOX))
    return pa.ListArray.from_arrays(_offsets([len(b) for b in boxes]), structs)


def _offsets(lengths: Sequence[int] | np.ndarray) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
