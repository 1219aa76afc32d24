import gzip
import itertools

import numpy as np
import PIL.Image
import pytest
from apache_beam.io.filesystems import FileSystems

from pipeline.run.plan import make_plan
from tests.shard_writers import photos, shard_of, write_files, write_parquet, write_tfrecord, write_webdataset
from transforms.output.layout import Layout
from transforms.output.plan import PlanError, write_plan
from transforms.read.formats.registry import FORMATS, format_of_content, format_of_name
from transforms.read.samples import HEAD_BYTES
from transforms.read.settings import InputSettings
from transforms.store import files as store


def plan_of(*patterns, output="/nowhere", **settings):
    return make_plan(InputSettings(pattern=[str(pattern) for pattern in patterns], **settings), Layout(str(output)))


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a/000.tar", "webdataset"),
        ("a/000.TAR.GZ", "webdataset"),
        ("a/train.tfrecord-00000-of-00010", "tfrecord"),
        ("a/train.tfrecords.gz", "tfrecord"),
        ("a/x.tfrec", "tfrecord"),
        ("a/x.parquet", "parquet"),
        ("a/x.JPEG", "images"),
        ("a/_SUCCESS", ""),
        ("a/.hidden", ""),
        ("a/x.json", ""),
        ("a/train-00000-of-01024", None),
        ("a/x.bin", None),
    ],
)
def test_names(name, format):
    assert format_of_name(name) == format


def test_content(tmp_path):
    samples = photos(2)
    write_webdataset(tmp_path / "webdataset", samples)
    (tmp_path / "webdataset-gz").write_bytes(gzip.compress((tmp_path / "webdataset").read_bytes()))
    write_tfrecord(tmp_path / "tfrecord", samples)
    write_tfrecord(tmp_path / "tfrecord-gz", samples, "GZIP")
    write_parquet(tmp_path / "parquet", samples)
    for name in ("jpeg", "png", "gif", "webp", "bmp", "avif"):
        PIL.Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(tmp_path / f"images-{name}", name)
    for path in tmp_path.iterdir():
        assert format_of_content(path.read_bytes()[:HEAD_BYTES]) == path.name.partition("-")[0], path.name


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>", bytes(600), b"\x1f\x8b but no gzip", b"PK\x03\x04"])
def test_content_of_something_else(content):
    assert format_of_content(content) == ""


def test_mixed_input_without_names_that_tell(tmp_path):
    samples = photos(2)
    write_webdataset(tmp_path / "a", samples)
    write_tfrecord(tmp_path / "b", samples, "GZIP")
    write_parquet(tmp_path / "c", samples)
    (tmp_path / "d").write_bytes(samples[0].encoded)
    (tmp_path / "e").write_text("notes")
    plan = plan_of(tmp_path)
    assert [shard.format for shard in plan.shards] == ["webdataset", "tfrecord", "parquet", "images"]
    assert plan.ignored == 1


def test_labels_lie_beside_their_images(tmp_path):
    write_files(tmp_path / "in", photos(2))
    (tmp_path / "in" / "stray.cls").write_text("1")
    plan = plan_of(tmp_path / "in")
    assert plan.shards[0].members == ("photo_0000.jpg", "photo_0000.cls", "photo_0001.jpg", "photo_0001.cls")
    assert plan.ignored == 1
    assert plan_of(tmp_path / "in", label_field="x").shards[0].members == ("photo_0000.jpg", "photo_0001.jpg")


def test_a_label_that_comes_later_changes_its_shard(tmp_path):
    write_files(tmp_path / "in", photos(2))
    (tmp_path / "in" / "photo_0000.cls").unlink()
    layout = Layout(str(tmp_path / "out"))
    first = plan_of(tmp_path / "in", output=layout.root)
    write_plan(layout.plan, first.shards, layout.temporary("run", "plan"))
    assert plan_of(tmp_path / "in", output=layout.root).changed == []
    (tmp_path / "in" / "photo_0000.cls").write_text("5")
    second = plan_of(tmp_path / "in", output=layout.root)
    assert second.changed == [first.shards[0].shard_id] == [second.shards[0].shard_id]
    assert second.shards[0].members[:2] == ("photo_0000.jpg", "photo_0000.cls")


def test_parquet_that_describes_what_lies_beside_it_is_no_input(tmp_path):
    samples = photos(2)
    write_webdataset(tmp_path / "00000.tar", samples)
    write_files(tmp_path / "00001", samples)
    for name in ("00000", "00001", "00002"):
        write_parquet(tmp_path / f"{name}.parquet", samples)
    plan = plan_of(tmp_path)
    assert [shard.format for shard in plan.shards] == ["webdataset", "parquet", "images"]
    assert plan.shards[1].uri.endswith("00002.parquet")
    assert plan.ignored == 2


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"")

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("transforms.store.files.open_read", refuse)
    with pytest.raises(PlanError, match="Permission denied"):
        plan_of(tmp_path)


@pytest.mark.parametrize("format", ["webdataset", "tfrecord", "parquet"])
def test_every_reader_reads_from_a_store_whose_connections_break(tmp_path, monkeypatch, format):
    """Every third read fails. The file lies here, but is opened as a store's is."""
    write = {"webdataset": write_webdataset, "tfrecord": write_tfrecord, "parquet": write_parquet}[format]
    write(tmp_path / "a", photos(20))
    opened, reads = FileSystems.open, itertools.count(1)

    class Flaky:
        def __init__(self, path, **options):
            file = opened(path, **options)
            self.tell, self.seek, self.close, self._read = file.tell, file.seek, file.close, file.read

        def read(self, size):
            if next(reads) % 3 == 0:
                raise ConnectionResetError(104, "Connection reset by peer")
            return self._read(size)

    monkeypatch.setattr(FileSystems, "open", Flaky)
    monkeypatch.setattr(store, "is_local", lambda path: False)
    monkeypatch.setattr(store, "BUFFER_BYTES", 1000)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    samples = list(FORMATS[format].read(shard_of(tmp_path / "a", format)))
    assert [sample.encoded for sample in samples] == [photo.encoded for photo in photos(20)]
    assert next(reads) > 4  # so that the third has failed
