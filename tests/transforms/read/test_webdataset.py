import io
import os
import tarfile
from collections import Counter

import pytest

from tests.shard_writers import shard_of
from transforms.read import limits
from transforms.read.fields import USUAL_FIELDS, Fields
from transforms.read.webdataset import read_webdataset
from transforms.records import ErrorType


def tar_of(path, members, **options):
    with tarfile.open(path, "w", **options) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def read(path, fields=USUAL_FIELDS, ignored=None):
    return list(read_webdataset(shard_of(path, "webdataset"), fields, ignored))


def test_keys_in_folders_and_several_images(tmp_path):
    members = [("a/b/x.left.jpg", b"1"), ("a/b/x.right.png", b"2"), ("a/b/x.cls", b"5"), ("a/c.d/y.jpg", b"3")]
    found = read(tar_of(tmp_path / "a", members))
    ids = [(sample.image_id, sample.label) for sample in found]
    assert ids == [("a/b/x.left", 5), ("a/b/x.right", 5), ("a/c.d/y", None)]


def test_members_that_nobody_knows_are_counted_and_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_ENCODED_BYTES", 10)
    members = [
        ("x.jpg", b"1"),
        ("x.txt", b"c"),
        ("x.mp4", bytes(99)),
        ("README", b""),
        (".hidden", b""),
        ("y.jpg", b""),
    ]
    ignored = Counter()
    assert [sample.encoded for sample in read(tar_of(tmp_path / "a", members), ignored=ignored)] == [b"1", b""]
    assert ignored == {"members_ignored": 4}


def test_a_sample_holds_no_more_than_one_image_may(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_ENCODED_BYTES", 10)
    found = read(tar_of(tmp_path / "a", [("x.a.jpg", bytes(6)), ("x.b.jpg", bytes(6)), ("y.jpg", bytes(6))]))
    reasons = [getattr(sample, "error_type", None) for sample in found]
    assert reasons == [None, ErrorType.TOO_MANY_BYTES, None]


@pytest.mark.parametrize("label", [b"1e400", b"9" * 5000, b"inf", b"-2"])
def test_labels_that_overflow(tmp_path, label):
    (bad,) = read(tar_of(tmp_path / "a", [("x.jpg", b"1"), ("x.cls", label)]))
    assert bad.error_type == ErrorType.BAD_LABEL


@pytest.mark.parametrize("text", [b'{"n": Infinity}', b'{"n": 1' + b"0" * 400 + b"}", b"[" * 100_000])
def test_json_that_overflows(tmp_path, text):
    (bad,) = read(tar_of(tmp_path / "a", [("x.jpg", b"1"), ("x.json", text)]), Fields(label_field="n"))
    assert bad.error_type == ErrorType.BAD_LABEL


@pytest.mark.parametrize("text", [b'{"n": null}', b'{"n": -1}', b""])
def test_no_label(tmp_path, text):
    (sample,) = read(tar_of(tmp_path / "a", [("x.jpg", b"1"), ("x.json", text)]), Fields(label_field="n"))
    assert sample.label is None


def test_names_that_are_not_unicode(tmp_path):
    path = tar_of(tmp_path / "a", [("\udcff\udcfe.jpg", b"1"), ("x\ny.jpg", b"2")], errors="surrogateescape")
    assert [sample.image_id for sample in read(path)] == ["\\xff\\xfe", "x\ny"]


def test_a_header_that_would_fill_the_memory(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    (tmp_path / "a").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    (bad,) = read(tmp_path / "a")
    assert bad.error_type == ErrorType.DAMAGED_SHARD
    assert "8589934592 bytes" in bad.message


def test_headers_of_headers_without_end(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "a").write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"y".ljust(512, b"\0")) * 5000)
    (bad,) = read(tmp_path / "a")
    assert bad.error_type == ErrorType.DAMAGED_SHARD


def test_links_are_rejects_in_their_sample(tmp_path):
    """`cp -al` and tar make such: the second name of a file is stored as a link to the first."""
    (tmp_path / "a.jpg").write_bytes(b"1")
    (tmp_path / "a.cls").write_bytes(b"5")
    os.link(tmp_path / "a.jpg", tmp_path / "b.jpg")
    (tmp_path / "d.jpg").symlink_to("a.jpg")
    os.link(tmp_path / "a.cls", tmp_path / "c.cls")
    (tmp_path / "b.txt").symlink_to("a.txt")
    (tmp_path / "README").symlink_to("a.txt")
    (tmp_path / "data.v1").symlink_to("data")
    (tmp_path / "b.cls").write_bytes(b"6")
    (tmp_path / "c.jpg").write_bytes(b"3")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a.jpg", "a.cls", "b.jpg", "b.txt", "b.cls", "README", "data.v1", "c.jpg", "c.cls", "d.jpg"):
            tar.add(tmp_path / name, name)
    ignored = Counter()
    good, hard, labelled, symbolic = read(tmp_path / "x.tar", ignored=ignored)
    assert (good.image_id, good.encoded, good.label) == ("a", b"1", 5)
    assert (hard.image_id, hard.error_type) == ("b", ErrorType.NO_IMAGE)
    assert (symbolic.image_id, symbolic.error_type) == ("d", ErrorType.NO_IMAGE)
    assert hard.message == symbolic.message == "a link to 'a.jpg', and links are not followed"
    assert (labelled.image_id, labelled.error_type) == ("c", ErrorType.BAD_LABEL)
    assert labelled.message == "LabelError: a link to 'a.cls', and links are not followed"
    assert ignored == {"members_ignored": 3}
