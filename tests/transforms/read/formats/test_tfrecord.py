import gzip
import io

import pytest

from tests.fuzz.mutations import example, field
from tests.shard_writers import record, shard_of
from transforms.read import limits
from transforms.read.fields import USUAL_FIELDS, Fields
from transforms.read.formats.tfrecord import read_records, read_tfrecord
from transforms.records import ErrorType, Sample

RECORD_BYTES = 16  # around the data: length, checksum of the length, checksum of the data


def read(tmp_path, content, fields=USUAL_FIELDS):
    (tmp_path / "a").write_bytes(content)
    return list(read_tfrecord(shard_of(tmp_path / "a", "tfrecord"), fields))


def test_an_id_is_the_record_number_where_there_is_none(tmp_path):
    found = read(tmp_path, record(example(b"1", 3)) + record(example(b"2", 4)))
    assert found == [Sample("0", f"{tmp_path}/a#0", b"1", 3), Sample("1", f"{tmp_path}/a#1", b"2", 4)]


def test_no_record_is_no_sample(tmp_path):
    assert read(tmp_path, b"") == read(tmp_path, gzip.compress(b"")) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("place", "message"),
    [(0, "length"), (8, "length"), (12, "data"), (-1, "data")],  # length, its checksum, data, its checksum
)
def test_a_damaged_record_ends_the_shard_and_says_where(tmp_path, pack, place, message):
    good, bad = record(example(b"1", 3)), bytearray(record(example(b"2", 4)))
    bad[place] ^= 1
    found = read(tmp_path, pack(good + bytes(bad) + good))
    assert [sample.image_id for sample in found] == ["0", ""]
    assert found[1].error_type == ErrorType.DAMAGED_SHARD
    assert found[1].message.endswith(f"wrong checksum of the {message} of the record at byte {len(good)}")


@pytest.mark.parametrize("kept", [5, 12, 20, -2])
def test_a_file_that_is_cut_short(tmp_path, kept):
    good = record(example(b"1", 3))
    (first, bad) = read(tmp_path, good + good[:kept])
    assert first.encoded == b"1"
    assert (bad.error_type, str(len(good)) in bad.message) == (ErrorType.DAMAGED_SHARD, True)


def test_a_packed_file_that_is_cut_short(tmp_path):
    packed = gzip.compress(record(example(b"1", 3)) * 1000)
    found = read(tmp_path, packed[:-20])
    assert found[0].encoded == b"1"
    assert found[-1].error_type == ErrorType.DAMAGED_SHARD


def test_a_length_that_looks_like_gzip(tmp_path):
    padding = 0x8B1F - len(example(b"", 3)) - 100
    data = example(bytes(padding), 3)
    data = example(bytes(padding + 0x8B1F - len(data)), 3)
    content = record(data)
    assert content[:2] == b"\x1f\x8b"
    assert read(tmp_path, content)[0].label == 3


def test_a_record_that_is_no_example_keeps_its_place(tmp_path):
    good = record(example(b"1", 3))
    found = read(tmp_path, good + record(b"\xff\xff") + record(b"") + good)
    reasons = [getattr(sample, "error_type", None) for sample in found]
    assert reasons == [None, ErrorType.NO_IMAGE, ErrorType.NO_IMAGE, None]


def test_a_record_too_large_for_memory_is_passed_over(monkeypatch):
    monkeypatch.setattr(limits, "MAX_ENCODED_BYTES", 10)
    content = record(b"small") + record(b"too large for ten") + record(b"again")
    assert list(read_records(io.BytesIO(content))) == [b"small", None, b"again"]


def test_fields_by_name(tmp_path):
    content = record(example(b"1", 3))
    (found,) = read(tmp_path, content, Fields(label_field="class"))
    assert (found.error_type, found.message) == (ErrorType.BAD_LABEL, "no feature 'class'")
    (found,) = read(tmp_path, content, Fields(id_field="name"))
    assert (found.image_id, found.error_type, found.message) == ("0", ErrorType.BAD_ID, "no feature 'name'")
    (found,) = read(tmp_path, content, Fields(image_field="picture"))
    assert found.error_type == ErrorType.NO_IMAGE
    assert "image/class/label, image/encoded" in found.message


@pytest.mark.parametrize(("label", "expected"), [(0, 0), (-1, None), (2**31 - 1, 2**31 - 1)])
def test_labels(tmp_path, label, expected):
    assert read(tmp_path, record(example(b"1", label)))[0].label == expected


@pytest.mark.parametrize("label", [-2, 2**31])
def test_bad_labels(tmp_path, label):
    assert read(tmp_path, record(example(b"1", label)))[0].error_type == ErrorType.BAD_LABEL


@pytest.mark.parametrize(
    "data",
    [
        field(1, b"\n\0" * 10**6),  # features without a name and a value
        b"\n\2\n\0" * 10**6,
        field(1, field(1, field(1, b"image/encoded") + field(2, field(1, b"\n") * 10**6))),
    ],
)
def test_messages_of_many_parts_are_not_taken_apart(tmp_path, data):
    (bad, good) = read(tmp_path, record(data) + record(example(b"1", 3)))
    assert (bad.error_type, good.label) == (ErrorType.NO_IMAGE, 3)


def test_examples_are_read_as_protobuf_reads_them(tmp_path):
    tf = pytest.importorskip("tensorflow")
    lists = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"1", b"2"])),
        "label": tf.train.Feature(float_list=tf.train.FloatList(value=[7.0, 8.0])),
        "id": tf.train.Feature(int64_list=tf.train.Int64List(value=[-(2**63), 1])),
    }
    (found,) = read(tmp_path, record(tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()))
    assert found == Sample(str(-(2**63)), f"{tmp_path}/a#0", b"1", 7)
