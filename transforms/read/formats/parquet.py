"""Parquet files with a column of encoded images: binary, or the {bytes, path} structs of Hugging Face `datasets`."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.read import limits, samples
from transforms.read.fields import USUAL_FIELDS, USUAL_ID, USUAL_IMAGE, USUAL_LABEL, Fields, first_present
from transforms.read.formats.format import Format
from transforms.read.samples import BadSample, Samples
from transforms.records import ErrorType, Sample, Shard
from transforms.store import files as store

_OUT_OF_RANGE = "out of range"  # in Arrow's words
_BATCH_ROWS = 4  # held at once, besides the pages they come from
_BUFFER_BYTES = 1024 * 1024  # of a column that are read at once; without a buffer, a whole row group's are


class _Columns(NamedTuple):
    """The names of the columns that are read; None where there is none."""

    image: str | None
    label: str | None
    id: str | None


def read_parquet(shard: Shard, fields: Fields = USUAL_FIELDS, ignored: Counter[str] | None = None) -> Samples:
    """Reads the rows of a file, page by page. A damaged page ends the shard; what comes before it is kept."""
    row = 0
    with store.open_read(shard.uri) as file:
        try:
            parquet = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)
            _check_footer(parquet.metadata, shard.num_bytes)
            columns = find_columns(parquet.schema_arrow, fields)
            for values in _rows(parquet, columns):
                yield _sample(f"{shard.uri}#{row}", str(row), values, columns, parquet.schema_arrow)
                row += 1
            if row != parquet.metadata.num_rows:
                raise ValueError(f"{row} rows of {parquet.metadata.num_rows} were there")
        except Exception as error:  # whatever comes of bytes that a stranger wrote
            bad = samples.damaged(shard.uri, error)
            yield bad._replace(message=f"after row {row}: {bad.message}" if row else bad.message)


def _check_footer(footer: pq.FileMetaData, num_bytes: int) -> None:
    """Raises where a footer contradicts itself: rows would be lost, read twice, or without end."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    num_rows = sum(group.num_rows for group in groups)
    if num_rows != footer.num_rows or min([0, *(group.num_rows for group in groups)]) < 0:
        raise ValueError(f"the footer has {footer.num_rows} rows, and {num_rows} in row groups")
    if num_rows > num_bytes + limits.MAX_ROWS_WITHOUT_BYTES:
        raise ValueError(f"{num_rows} rows in a file of {num_bytes} bytes")


def find_columns(schema: pa.Schema, fields: Fields) -> _Columns:
    """Returns which columns of a file hold image, label and id: as asked for, or as usual.

    Without a column of a usual name, the only one that could hold images is taken.
    """
    names = schema.names
    with_images = tuple(field.name for field in schema if holds_images(field.type))
    image = fields.image_field or first_present(USUAL_IMAGE, with_images)
    if image is None and len(with_images) == 1:
        image = with_images[0]
    return _Columns(
        image if image in with_images else None,
        fields.label_field or first_present(USUAL_LABEL, names),
        fields.id_field or first_present(USUAL_ID, [field.name for field in schema if _is_single(field.type)]),
    )


def holds_images(kind: pa.DataType) -> bool:
    """Tells whether a column of this type can hold encoded images."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_binary(kind.value_type)
    if pa.types.is_fixed_size_binary(kind):
        return kind.byte_width <= limits.MAX_ENCODED_BYTES
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _is_single(kind: pa.DataType) -> bool:
    """Tells whether a column of this type holds one value a row: no lists, of which one row could hold millions."""
    return not pa.types.is_nested(kind)


def _rows(parquet: pq.ParquetFile, columns: _Columns) -> Iterator[dict[str, pa.Scalar]]:
    """Yields the values of the wanted columns, row by row."""
    schema = parquet.schema_arrow
    names = [
        field.name
        for field in schema
        if field.name in columns and (field.name == columns.image or _is_single(field.type))
    ]
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=names, use_threads=False):
        for row in range(len(batch)):
            yield {name: batch[name][row] for name in names}


def _sample(
    uri: str, number: str, values: dict[str, pa.Scalar], columns: _Columns, schema: pa.Schema
) -> Sample | BadSample:
    encoded, path = _image(values[columns.image] if columns.image else None)
    image_id = (_text(values[columns.id]) if columns.id in values else "") or path or number
    if columns.image is None:
        known = ", ".join(f"{field.name} ({field.type})" for field in schema)[:500]
        return BadSample(image_id, uri, ErrorType.NO_IMAGE, f"no column of images: the columns are {known}")
    if columns.id and columns.id not in values:
        return BadSample(image_id, uri, ErrorType.BAD_ID, _about(columns.id, schema))
    if encoded is None:
        return BadSample(image_id, uri, ErrorType.NO_IMAGE, f"no bytes in {columns.image!r}")
    if len(encoded) > limits.MAX_ENCODED_BYTES:
        return samples.too_large(image_id, uri)
    if columns.label and columns.label not in values:
        return BadSample(image_id, uri, ErrorType.BAD_LABEL, _about(columns.label, schema))
    try:
        label = values[columns.label].as_py() if columns.label else None
        return Sample(image_id, uri, encoded, samples.class_index(label))
    except Exception as error:  # samples.LabelError, or what Arrow makes of a value that Python can't hold
        return BadSample(image_id, uri, ErrorType.BAD_LABEL, f"{type(error).__name__}: {error}")


def _about(column: str, schema: pa.Schema) -> str:
    """Says why a column that is asked for is not read."""
    return (
        f"the column {column!r} is {schema.field(column).type}" if column in schema.names else f"no column {column!r}"
    )


def _image(value: pa.Scalar | None) -> tuple[bytes | None, str]:
    """Returns the encoded image that a column holds, and the path beside it, if there is one."""
    if value is None or not value.is_valid:
        return None, ""
    if not pa.types.is_struct(value.type):
        return value.as_py(), ""
    return value["bytes"].as_py(), _text(value["path"]) if value.type.get_field_index("path") >= 0 else ""


def _text(value: pa.Scalar | None) -> str:
    """Returns a value as it stands in a row; where Python can't hold it, as Arrow writes it, or as the number it is."""
    if value is None or not value.is_valid:
        return ""
    kind = value.type
    if pa.types.is_dictionary(kind):
        return _text(value.value)
    if not pa.types.is_temporal(kind) or getattr(kind, "unit", "us") != "ns":  # else it would depend on pandas
        try:
            return str(value.as_py())
        except Exception as error:  # not UTF-8, not in Python's range, a time zone that nobody knows
            if isinstance(error, UnicodeDecodeError):
                return value.as_buffer().to_pybytes().decode(errors="backslashreplace")
    try:
        text = str(value.cast(pa.string())).removesuffix(".000000000")
    except pa.ArrowException:
        text = _OUT_OF_RANGE
    return str(value.cast(pa.int32() if kind.bit_width == 32 else pa.int64())) if _OUT_OF_RANGE in text else text


FORMAT = Format(
    "parquet",
    read_parquet,
    re.compile(r"\.parquet$"),
    starts=lambda head: head.startswith(b"PAR1"),
    may_describe=True,  # img2dataset writes one beside every tar file, and beside every folder of image files
)
