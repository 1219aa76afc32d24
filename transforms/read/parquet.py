"""Parquet files with a column of encoded images: binary, or the {bytes, path} structs of Hugging Face `datasets`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.read import limits, samples
from transforms.read.samples import (
    USUAL_FIELDS,
    USUAL_ID,
    USUAL_IMAGE,
    USUAL_LABEL,
    BadSample,
    Counts,
    Fields,
    Samples,
)
from transforms.records import ErrorType, Sample, Shard
from transforms.store import files as store

_BATCH_ROWS = 4  # held at once, besides the pages they come from
_BUFFER_BYTES = 1024 * 1024  # of a column that are read at once; without a buffer, a whole row group's are


class _Columns(NamedTuple):
    """The names of the columns that are read; None where there is none."""

    image: str | None
    label: str | None
    id: str | None


def read_parquet(shard: Shard, fields: Fields = USUAL_FIELDS, counts: Counts | None = None) -> Samples:
    """Reads the rows of a file, page by page. A damaged page ends the shard; what comes before it is kept."""
    row = 0
    with store.open_read(shard.uri) as file:
        try:
            parquet = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)
            columns = find_columns(parquet.schema_arrow, fields)
            for values in _rows(parquet, columns):
                yield _sample(f"{shard.uri}#{row}", str(row), values, columns, parquet.schema_arrow)
                row += 1
        except Exception as error:  # whatever comes of bytes that a stranger wrote
            bad = samples.damaged(shard.uri, error)
            yield bad._replace(message=f"after row {row}: {bad.message}" if row else bad.message)


def find_columns(schema: pa.Schema, fields: Fields) -> _Columns:
    """Returns which columns of a file hold image, label and id: as asked for, or as usual.

    Without a column of a usual name, the only one that could hold images is taken.
    """
    names = schema.names
    with_images = tuple(field.name for field in schema if holds_images(field.type))
    image = fields.image or samples.first_present(USUAL_IMAGE, with_images)
    if image is None and len(with_images) == 1:
        image = with_images[0]
    return _Columns(
        image if image in with_images else None,
        fields.label or samples.first_present(USUAL_LABEL, names),
        fields.id or samples.first_present(USUAL_ID, names),
    )


def holds_images(kind: pa.DataType) -> bool:
    """Tells whether a column of this type can hold encoded images."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _rows(parquet: pq.ParquetFile, columns: _Columns) -> Iterator[dict[str, Any]]:
    """Yields the values of the wanted columns, row by row."""
    names = [name for name in parquet.schema_arrow.names if name in columns]
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=names, use_threads=False):
        for row in range(len(batch)):
            yield batch.slice(row, 1).to_pylist()[0] if names else {}


def _sample(uri: str, number: str, values: dict[str, Any], columns: _Columns, schema: pa.Schema) -> Sample | BadSample:
    image = values[columns.image] if columns.image else None
    if isinstance(image, dict):
        encoded, path = image["bytes"], image.get("path")
    else:
        encoded, path = image, None
    image_id = str(values[columns.id]) if columns.id and values.get(columns.id) is not None else path or number
    if columns.image is None:
        known = ", ".join(f"{field.name} ({field.type})" for field in schema)[:500]
        return BadSample(image_id, uri, ErrorType.NO_IMAGE, f"no column of images: the columns are {known}")
    if columns.id and columns.id not in values:
        return BadSample(image_id, uri, ErrorType.BAD_ID, f"no column {columns.id!r}")
    if encoded is None:
        return BadSample(image_id, uri, ErrorType.NO_IMAGE, f"no bytes in {columns.image!r}")
    if len(encoded) > limits.MAX_ENCODED_BYTES:
        return samples.too_large(image_id, uri)
    try:
        return Sample(image_id, uri, encoded, samples.class_index(values[columns.label] if columns.label else None))
    except (samples.LabelError, KeyError) as error:
        return BadSample(image_id, uri, ErrorType.BAD_LABEL, f"{type(error).__name__}: {error}")
