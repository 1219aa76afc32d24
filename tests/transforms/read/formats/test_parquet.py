import itertools
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.shard_writers import shard_of
from transforms.read.fields import USUAL_FIELDS, Fields
from transforms.read.formats.parquet import find_columns, read_parquet
from transforms.records import ErrorType

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def read(path, columns, fields=USUAL_FIELDS, **options):
    pq.write_table(pa.table(columns), path, **options)
    return list(read_parquet(shard_of(path, "parquet"), fields))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_a_binary_column(tmp_path, kind):
    found = read(tmp_path / "a", {"photo": pa.array([b"1", b"2"], kind), "label": [3, None], "n": [1, 2]})
    assert [(sample.image_id, sample.encoded, sample.label) for sample in found] == [("0", b"1", 3), ("1", b"2", None)]


def test_ids_come_from_a_column_else_from_the_path(tmp_path):
    image = pa.array([{"bytes": b"1", "path": "p.jpg"}, {"bytes": b"2", "path": None}], STRUCT)
    assert [sample.image_id for sample in read(tmp_path / "a", {"image": image})] == ["p.jpg", "1"]
    assert [sample.image_id for sample in read(tmp_path / "b", {"image": image, "id": [7, 8]})] == ["7", "8"]


@pytest.mark.parametrize(
    ("names", "fields", "image"),
    [
        (["image", "mask"], Fields(), "image"),
        (["photo"], Fields(), "photo"),
        (["left", "right"], Fields(), None),
        (["left", "right"], Fields(image_field="right"), "right"),
        (["left"], Fields(image_field="middle"), None),
        (["left"], Fields(image_field="n"), None),
    ],
)
def test_the_column_of_images(names, fields, image):
    schema = pa.schema([*((name, pa.binary()) for name in names), ("n", pa.int64())])
    assert find_columns(schema, fields).image == image


def test_without_a_column_of_images_every_row_is_accounted_for(tmp_path):
    found = read(tmp_path / "a", {"n": [1, 2, 3]})
    assert [bad.error_type for bad in found] == [ErrorType.NO_IMAGE] * 3
    assert found[0].message == "no column of images: the columns are n (int64)"


def test_bad_rows_keep_their_place(tmp_path):
    found = read(tmp_path / "a", {"image": [b"1", None, b"3", b"4"], "label": [1.0, 2.0, 2.5, -1.0]})
    reasons = [getattr(sample, "error_type", sample) for sample in found]
    assert reasons[1:3] == [ErrorType.NO_IMAGE, ErrorType.BAD_LABEL]
    assert (found[0].label, found[3].label) == (1, None)
    (bad,) = read(tmp_path / "b", {"image": [b"1"]}, Fields(label_field="class"))
    assert bad.error_type == ErrorType.BAD_LABEL


def test_what_comes_before_a_damaged_page_is_kept(tmp_path):
    path = tmp_path / "a"
    images = [np.random.default_rng(n).bytes(3000) for n in range(8)]
    options = {"row_group_size": 4, "compression": "none", "use_dictionary": False, "write_page_checksum": True}
    read(path, {"image": images}, **options)
    content = bytearray(path.read_bytes())
    content[content.index(images[5])] ^= 1
    path.write_bytes(content)
    found = list(read_parquet(shard_of(path, "parquet")))
    assert [sample.encoded for sample in found[:-1]] == images[:4]
    assert found[-1].error_type == ErrorType.DAMAGED_SHARD
    assert found[-1].message.startswith("after row 4: ")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"hello" * 100])
def test_what_is_no_parquet_file(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    (bad,) = read_parquet(shard_of(tmp_path / "a", "parquet"))
    assert bad.error_type == ErrorType.DAMAGED_SHARD


def test_a_row_group_is_not_read_into_memory(tmp_path):
    """64 MB in one row group: after 100 rows, of 10 KB, the file was read to a small part of its length."""
    image = os.urandom(10_000)
    pq.write_table(
        pa.table({"image": [image + bytes([n % 256]) for n in range(6400)]}), tmp_path / "a", compression="none"
    )
    before = pa.total_allocated_bytes()
    samples = read_parquet(shard_of(tmp_path / "a", "parquet"))
    assert len(list(itertools.islice(samples, 100))) == 100
    assert pa.total_allocated_bytes() - before < 24_000_000
    samples.close()


def test_a_column_of_ids_that_is_not_there_is_named(tmp_path):
    found = read(tmp_path / "a", {"image": [b"1", b"2"], "id": ["x", "y"]}, Fields(id_field="idd"))
    assert [(bad.image_id, bad.error_type, bad.message) for bad in found] == [
        ("0", ErrorType.BAD_ID, "no column 'idd'"),
        ("1", ErrorType.BAD_ID, "no column 'idd'"),
    ]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pa.duration("ns"), 1, "1"),
        (pa.duration("s"), 2**62, str(2**62)),
        (pa.date32(), 2**31 - 1, str(2**31 - 1)),
        (pa.timestamp("us"), 2**62, str(2**62)),
        (pa.timestamp("us"), 1, "1970-01-01 00:00:00.000001"),
        (pa.timestamp("ns"), 10**9, "1970-01-01 00:00:01"),
        (pa.timestamp("ns"), 1, "1970-01-01 00:00:00.000000001"),
        (pa.timestamp("ms", "Nowhere/Town"), 5, "5"),
        (pa.time64("ns"), 1, "00:00:00.000000001"),
    ],
)
def test_ids_that_python_can_not_hold(tmp_path, kind, value, expected):
    ids = pa.array([value], pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)
    (sample,) = read(tmp_path / "a", {"image": [b"1"], "id": ids})
    assert sample.image_id == expected


def test_an_id_that_is_not_unicode_is_escaped(tmp_path):
    ids = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff"]).buffers())
    assert [sample.image_id for sample in read(tmp_path / "a", {"image": [b"1", b"2"], "id": ids})] == ["ok", "\\xff"]


@pytest.mark.parametrize(
    "images", [pa.array([b"11", b"22"]).dictionary_encode(), pa.array([b"11", b"22"], pa.binary(2))]
)
def test_other_kinds_of_bytes(tmp_path, images):
    assert [sample.encoded for sample in read(tmp_path / "a", {"image": images})] == [b"11", b"22"]


def test_lists_are_no_labels_and_no_ids(tmp_path):
    lists = pa.array([[{"a": 1}]])
    (bad,) = read(tmp_path / "a", {"image": [b"1"], "label": lists})
    assert (bad.error_type, "is list<" in bad.message) == (ErrorType.BAD_LABEL, True)
    (sample,) = read(tmp_path / "b", {"image": [b"1"], "id": lists})
    assert sample.image_id == "0"
    (bad,) = read(tmp_path / "c", {"image": [b"1"], "id": lists}, Fields(id_field="id"))
    assert bad.error_type == ErrorType.BAD_ID


def test_rows_without_bytes_have_an_end(tmp_path):
    (bad,) = read(tmp_path / "a", {"image": pa.nulls(1_000_002, pa.binary())})
    assert (bad.error_type, bad.message) == (ErrorType.DAMAGED_SHARD, "ValueError: 1000002 rows in a file of 1 bytes")
