"""Shards made by the packages that people make shards with."""

import io
import json
import tarfile
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from tests.shard_writers import photos, shard_of, write_files, write_parquet, write_tfrecord, write_webdataset
from transforms.read.fields import USUAL_FIELDS, Fields
from transforms.read.formats.registry import FORMATS
from transforms.records import ErrorType


def read(path, format, fields=USUAL_FIELDS, members=(), ignored=None):
    return list(FORMATS[format].read(shard_of(path, format, members), fields, ignored))


def facts(samples):
    return [(sample.image_id, sample.encoded, sample.label) for sample in samples]


@pytest.fixture
def written():
    return photos()


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_the_writer_of_webdataset(tmp_path, written, name):
    write_webdataset(tmp_path / name, written)
    assert facts(read(tmp_path / name, "webdataset")) == [tuple(photo) for photo in written]


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_the_writer_of_tensorflow(tmp_path, written, compression):
    write_tfrecord(tmp_path / "a", written, compression)
    samples = read(tmp_path / "a", "tfrecord")
    assert facts(samples) == [tuple(photo) for photo in written]
    assert samples[2].uri == f"{tmp_path / 'a'}#2"


def test_the_writer_of_hugging_face(tmp_path, written):
    write_parquet(tmp_path / "a.parquet", written)
    samples = read(tmp_path / "a.parquet", "parquet")
    assert facts(samples) == [tuple(photo) for photo in written]
    assert samples[2].uri == f"{tmp_path / 'a.parquet'}#2"


def test_all_writers_give_the_same(tmp_path, written):
    write_webdataset(tmp_path / "a.tar", written)
    write_tfrecord(tmp_path / "a.tfrecord", written)
    write_parquet(tmp_path / "a.parquet", written)
    write_files(tmp_path / "files", written)
    members = [f"{photo.key}.{extension}" for photo in written for extension in ("jpg", "cls")]
    found = [
        facts(read(tmp_path / "a.tar", "webdataset")),
        facts(read(tmp_path / "a.tfrecord", "tfrecord")),
        facts(read(tmp_path / "a.parquet", "parquet")),
        facts(read(tmp_path / "files", "images", members=members)),
    ]
    assert found == [[tuple(photo) for photo in written]] * 4


class TestImg2dataset:
    """Its layout, as of 1.47: nine digits as key; .jpg, .txt and .json, or columns and features named like them."""

    def test_tar(self, tmp_path, written):
        with tarfile.open(tmp_path / "00000.tar", "w") as tar:
            for number, photo in enumerate(written):
                meta = {"key": f"{number:09d}", "url": "https://a.test/x.jpg", "caption": "a cat", "class": photo.label}
                members = [("jpg", photo.encoded), ("txt", b"a cat"), ("json", json.dumps(meta).encode())]
                for extension, content in members:
                    info = tarfile.TarInfo(f"{number:09d}.{extension}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        ignored = Counter()
        samples = read(tmp_path / "00000.tar", "webdataset", Fields(label_field="class"), ignored=ignored)
        assert facts(samples) == [(f"{n:09d}", photo.encoded, photo.label) for n, photo in enumerate(written)]
        assert ignored == {"members_ignored": len(written)}  # the captions

    def test_parquet(self, tmp_path, written):
        table = pa.table(
            {
                "url": ["https://a.test/x.jpg"] * len(written),
                "key": [f"{number:09d}" for number in range(len(written))],
                "caption": ["a cat"] * len(written),
                "jpg": [photo.encoded for photo in written],
            }
        )
        pq.write_table(table, tmp_path / "00000.parquet")
        samples = read(tmp_path / "00000.parquet", "parquet")
        assert facts(samples) == [(f"{n:09d}", photo.encoded, None) for n, photo in enumerate(written)]


def test_a_dataset_whose_images_lie_elsewhere(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (tmp_path / "x.jpg").write_bytes(photos(1)[0].encoded)
    table = pa.table({"image": pa.array([{"bytes": None, "path": str(tmp_path / "x.jpg")}], kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    (bad,) = read(tmp_path / "a.parquet", "parquet")
    assert (bad.error_type, bad.image_id) == (ErrorType.NO_IMAGE, str(tmp_path / "x.jpg"))  # which is not opened


def test_one_run_over_all_formats_gives_the_same_rows(tmp_path, written):
    write_webdataset(tmp_path / "a.tar", written)
    write_tfrecord(tmp_path / "b.tfrecord", written)
    write_parquet(tmp_path / "c.parquet", written)
    write_files(tmp_path / "d", written)
    inputs = [f"--input={tmp_path / name}" for name in ("a.tar", "b.tfrecord", "c.parquet", "d")]
    assert main(["run", *inputs, f"--output={tmp_path / 'out'}", "--model=demo"]) == 0
    tables = [pq.read_table(path) for path in sorted((tmp_path / "out" / "images").iterdir())]
    assert [table["shard_id"][0].as_py()[0] for table in tables] == ["a", "b", "c", "d"]
    rows = [table.drop_columns(["uri", "shard_id"]) for table in tables]
    assert rows[0]["label"].to_pylist() == [photo.label for photo in written]
    assert [row.equals(rows[0]) for row in rows] == [True] * 4
