import io
import json
import os
import tarfile
from collections import Counter

import pytest

from tests.factories import jpeg, write_tar
from tests.shard_writers import shard_of
from transforms.read import limits
from transforms.read.fields import USUAL_FIELDS, Fields
from transforms.read.formats.webdataset import read_webdataset
from transforms.read.samples import BadSample
from transforms.records import ErrorType, Sample


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


def ids(samples):
    return [sample.image_id for sample in samples]


def reasons(samples):
    return [sample.error_type for sample in samples if isinstance(sample, BadSample)]


def test_members_of_a_sample_are_grouped(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("x.jpg", b"1"), ("x.cls", b" 7\n"), ("y.cls", b"3"), ("y.png", b"2")])
    assert read(path) == [Sample("x", f"{path}#x.jpg", b"1", 7), Sample("y", f"{path}#y.png", b"2", 3)]


def test_keys_keep_their_folder_and_end_at_the_names_first_dot(tmp_path):
    names = ["a.b/c.jpg", "a.b/d.left.jpg", "./e.jpg", "f.JPG", "käse 1.webp"]
    path = write_tar(tmp_path / "a.tar", [(name, b"1") for name in names])
    samples = read(path)
    assert ids(samples) == ["a.b/c", "a.b/d", "./e", "f", "käse 1"]
    assert [sample.uri for sample in samples] == [f"{path}#{name}" for name in names]


def test_the_keys_are_those_of_the_webdataset_library(tmp_path):
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    names = ["a/b.jpg", "a/b.cls", "c.d/e.f.png", "c.d/e.cls", "g.jpeg"]
    path = write_tar(tmp_path / "a.tar", [(name, b"1") for name in names])
    with open(path, "rb") as file:
        members = [member | {"__url__": path} for member in tar_file_iterator(file)]
    theirs = [sample["__key__"] for sample in group_by_keys(members)]
    assert ids(read(path)) == theirs


def test_several_images_of_a_sample_are_told_apart_by_their_extension(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("x.left.jpg", b"1"), ("x.right.jpg", b"2"), ("x.cls", b"4")])
    assert read(path) == [
        Sample("x.left", f"{path}#x.left.jpg", b"1", 4),
        Sample("x.right", f"{path}#x.right.jpg", b"2", 4),
    ]


def test_a_name_that_comes_twice_is_two_samples(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("x.jpg", b"1"), ("x.jpg", b"2")])
    assert [sample.encoded for sample in read(path)] == [b"1", b"2"]


def test_a_sample_without_an_image_keeps_its_place(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("x.jpg", b"1"), ("y.cls", b"1"), ("y.txt", b"hm"), ("z.jpg", b"2")])
    samples = read(path)
    assert ids(samples) == ["x", "y", "z"]
    assert reasons(samples) == [ErrorType.NO_IMAGE]
    assert "cls" in samples[1].message


@pytest.mark.parametrize("label", [b"cat", b"1.5", b"2147483648", b"nan", b"\xff\xfe"])
def test_bad_labels(tmp_path, label):
    path = write_tar(tmp_path / "a.tar", [("x.jpg", b"1"), ("x.cls", label), ("y.jpg", b"2"), ("y.cls", b"0")])
    samples = read(path)
    assert reasons(samples) == [ErrorType.BAD_LABEL]
    assert samples[1].label == 0


def test_no_label_is_none(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("x.jpg", b"1"), ("y.jpg", b"2"), ("y.cls", b"")])
    assert [sample.label for sample in read(path)] == [None, None]


def test_fields_name_the_image_and_the_label(tmp_path):
    meta = json.dumps({"class": 5}).encode()
    path = write_tar(tmp_path / "a.tar", [("x.small.jpg", b"1"), ("x.big.jpg", b"2"), ("x.json", meta)])
    assert read(path, Fields(image_field="big.jpg", label_field="class")) == [Sample("x", f"{path}#x.big.jpg", b"2", 5)]


@pytest.mark.parametrize("meta", [b"{}", b"not json", b"[]", b'"class"', b'{"class": "cat"}'])
def test_bad_json_labels_are_rejects(tmp_path, meta):
    path = write_tar(tmp_path / "a.tar", [("x.jpg", b"1"), ("x.json", meta)])
    assert reasons(read(path, Fields(label_field="class"))) == [ErrorType.BAD_LABEL]


def test_folders_and_dot_files_are_passed_over(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("folder.jpg")
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
        for name in ("._x.jpg", ".hidden", "no_extension", "x.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"1"))
    assert ids(read(path)) == ["x"]


@pytest.mark.parametrize(("suffix", "mode"), [("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar", "w:bz2")])
def test_compressed_tars_stream_too(tmp_path, suffix, mode):
    path = write_tar(tmp_path / f"a.{suffix}", [(f"{n}.jpg", jpeg(n)) for n in range(5)], mode)
    assert [sample.encoded for sample in read(path)] == [jpeg(n) for n in range(5)]


def test_long_names_survive(tmp_path):
    name = "folder/" * 30 + "x.jpg"
    assert ids(read(write_tar(tmp_path / "a.tar", [(name, b"1")]))) == [name.removesuffix(".jpg")]


def test_an_empty_tar_has_no_samples(tmp_path):
    assert read(write_tar(tmp_path / "a.tar", [])) == []


def test_too_many_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_ENCODED_BYTES", 3)
    path = write_tar(tmp_path / "a.tar", [("x.jpg", b"1234"), ("y.jpg", b"123")])
    samples = read(path)
    assert ids(samples) == ["x", "y"]
    assert reasons(samples) == [ErrorType.TOO_MANY_BYTES]


def cut(path, num_bytes):
    content = path.read_bytes()
    path.write_bytes(content[:num_bytes])


# each member here is a header of 512 bytes and content filled up to 512
def test_a_truncated_member_ends_the_shard(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, [("x.jpg", b"1" * 400), ("y.jpg", b"2" * 400)])
    cut(path, 1024 + 512 + 100)
    samples = read(path)
    assert ids(samples) == ["x", ""]
    assert reasons(samples) == [ErrorType.DAMAGED_SHARD]


def test_a_tar_cut_between_members_is_noticed(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, [("x.jpg", b"1" * 400), ("y.jpg", b"2" * 400)])
    cut(path, 1024)
    assert reasons(read(path)) == [ErrorType.DAMAGED_SHARD]


X_JPG, X_CLS, X_TXT = ("x.jpg", b"1" * 400), ("x.cls", b"5"), ("x.txt", b"hm")


@pytest.mark.parametrize(
    ("members", "left_bytes", "kept", "lost_label"),
    [
        ([X_JPG, X_CLS], 1024, [("x", None)], True),  # nobody knows what came after the image
        ([X_JPG, X_CLS], 1024 + 512, [("x", None)], True),
        ([X_CLS, X_JPG], 1024 + 512 + 100, [], False),  # not a sample without an image: it had one
        ([X_CLS, X_JPG], 1024, [], False),
        ([X_CLS, X_JPG, X_TXT], 2048 + 512, [("x", 5)], False),
        ([X_JPG, X_CLS, X_TXT], 2048, [("x", 5)], False),
    ],
)
def test_of_a_sample_that_is_cut_what_is_certain_is_kept(tmp_path, members, left_bytes, kept, lost_label):
    path = tmp_path / "a.tar"
    write_tar(path, members)
    cut(path, left_bytes)
    *samples, damaged = read(path)
    assert [(sample.image_id, getattr(sample, "label", "bad")) for sample in samples] == kept
    assert damaged.error_type == ErrorType.DAMAGED_SHARD
    assert ("the label of 'x', if it had one, is lost" in damaged.message) == lost_label


def test_a_damaged_header_midway_is_noticed_and_what_came_before_is_kept(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, [(f"{name}.jpg", b"1" * 400) for name in "xyz"])
    content = bytearray(path.read_bytes())
    content[1024:1034] = b"\xff" * 10  # the second member's name: its checksum is wrong now
    path.write_bytes(content)
    samples = read(path)
    assert ids(samples) == ["x", ""]
    assert reasons(samples) == [ErrorType.DAMAGED_SHARD]


@pytest.mark.parametrize("content", [b"", b"not a tar at all", b"\x1f\x8b broken gzip"])
def test_what_is_no_tar_is_a_damaged_shard(tmp_path, content):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    assert reasons(read(path)) == [ErrorType.DAMAGED_SHARD]


def test_truncated_gzip_is_a_damaged_shard(tmp_path):
    path = tmp_path / "a.tar.gz"
    write_tar(path, [(f"{n}.jpg", jpeg(n)) for n in range(20)], "w:gz")
    cut(path, path.stat().st_size // 2)
    samples = read(path)
    assert reasons(samples) == [ErrorType.DAMAGED_SHARD]
    assert 0 < len(samples) < 21


def test_a_missing_shard_fails_the_run(tmp_path):
    with pytest.raises(OSError, match="gone"):
        read(tmp_path / "gone.tar")
