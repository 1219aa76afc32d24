"""Tar files as they come from disks that were full, from downloads that were cut, and from people who mean harm."""

import io
import tarfile
from collections import Counter

import pytest

from tests.factories import jpeg
from tests.shard_writers import shard_of
from transforms.read.formats.webdataset import read_webdataset
from transforms.records import ErrorType

HUGE = 2**60


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, size: int | None = None, **changes) -> bytes:
    """A header and the content behind it, filled up to whole blocks; other values of the header as in TarInfo."""
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content) if size is None else size, kind
    for key, value in changes.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def pax(**records) -> bytes:
    content = b""
    for key, value in records.items():
        body = f" {key}={value}\n".encode()
        length = len(body) + len(str(len(body) + 2))
        content += f"{length}".encode() + body
    return member("pax", content, tarfile.XHDTYPE)


def read(tmp_path, content: bytes, ignored=None):
    (tmp_path / "a.tar").write_bytes(content)
    return list(read_webdataset(shard_of(tmp_path / "a.tar", "webdataset"), ignored=ignored))


def outcomes(found) -> list[str]:
    return [str(getattr(sample, "error_type", sample.image_id)) for sample in found]


PHOTOS = [member(f"{number}.jpg", jpeg(number)) for number in range(6)]
END = bytes(1024)
DAMAGED = str(ErrorType.DAMAGED_SHARD)


def padded(content: bytes) -> bytes:
    """Ends a tar file as GNU's and Python's do."""
    return content + END + bytes(-len(content + END) % 10240)


@pytest.mark.parametrize("end", [bytes(512), END])
def test_the_usual_ends(tmp_path, end):
    whole = b"".join(PHOTOS)
    for content in (whole + end, padded(whole)):
        assert outcomes(read(tmp_path, content)) == list("012345")


def test_zeros_from_a_member_on_are_no_end(tmp_path):
    """A download that was cut, in a file of the whole length."""
    content = bytearray(padded(b"".join(PHOTOS) + member("6.jpg", bytes(range(256)) * 80)))
    begin = len(b"".join(PHOTOS[:3]))
    content[begin:] = bytes(len(content) - begin)
    found = read(tmp_path, content)
    assert outcomes(found) == ["0", "1", "2", DAMAGED]
    assert f"zeros at byte {begin} are no end" in found[-1].message


def test_zeros_from_the_middle_of_a_member_on_are_no_end(tmp_path):
    content = bytearray(padded(b"".join(PHOTOS) + member("6.jpg", bytes(range(256)) * 80)))
    begin = len(b"".join(PHOTOS[:3])) + 700
    content[begin:] = bytes(len(content) - begin)
    assert outcomes(read(tmp_path, content)) == ["0", "1", "2", "3", DAMAGED]


def test_members_behind_zeros_are_read(tmp_path):
    content = bytearray(padded(b"".join(PHOTOS)))
    begin, end = len(PHOTOS[0]), len(PHOTOS[0] + PHOTOS[1])
    content[begin:end] = bytes(end - begin)
    found = read(tmp_path, content)
    assert outcomes(found) == ["0", DAMAGED, "2", "3", "4", "5"]
    assert found[1].message.startswith(f"{end - begin} bytes of zeros at byte {begin}, with members behind them")


def test_two_files_in_one_are_read(tmp_path):
    found = read(tmp_path, padded(b"".join(PHOTOS[:3])) + padded(b"".join(PHOTOS[3:])))
    assert outcomes(found) == ["0", "1", "2", DAMAGED, "3", "4", "5"]


def test_what_follows_the_end_and_is_no_member_is_damage(tmp_path):
    found = read(tmp_path, PHOTOS[0] + END + b"garbage" * 100)
    assert outcomes(found) == ["0", DAMAGED]


def test_a_cut_at_the_end_of_a_member_is_noticed(tmp_path):
    found = read(tmp_path, PHOTOS[0] + PHOTOS[1])
    assert outcomes(found) == ["0", "1", DAMAGED]
    assert f"ends at byte {len(PHOTOS[0] + PHOTOS[1])} without a mark of its end" in found[-1].message


def test_members_without_extension_are_images_by_their_content(tmp_path):
    ignored = Counter()
    members = [member(f"photo{number}", jpeg(number)) for number in range(3)] + [member("README", b"hello"), END]
    assert outcomes(read(tmp_path, b"".join(members), ignored)) == ["photo0", "photo1", "photo2"]
    assert ignored["members_ignored"] == 1


def test_members_of_other_extensions_are_images_by_their_content_where_there_is_no_other(tmp_path):
    ignored = Counter()
    members = [member("x.photo", jpeg()), member("x.cls", b"3"), member("y.raw", jpeg()), member("y.jpg", jpeg(1)), END]
    x, y = read(tmp_path, b"".join(members), ignored)
    assert (x.image_id, x.label, x.uri[-8:]) == ("x", 3, "#x.photo")
    assert (y.image_id, y.encoded, y.uri[-6:]) == ("y", jpeg(1), "#y.jpg")
    assert ignored["members_ignored"] == 1


def test_a_name_without_extension_does_not_part_a_sample(tmp_path):
    (sample,) = read(tmp_path, member("x.jpg", jpeg()) + member("README", b"1") + member("x.cls", b"3") + END)
    assert sample.label == 3


@pytest.mark.parametrize(
    "content",
    [
        member("x.jpg", size=HUGE),
        member("x.txt", size=HUGE),
        member("x.jpg", kind=tarfile.GNUTYPE_LONGNAME, size=HUGE),
        member("x.jpg", kind=tarfile.GNUTYPE_SPARSE, size=HUGE),
        pax(size=HUGE) + PHOTOS[0],
        pax(size=-1) + PHOTOS[0],
        pax(size="x") + PHOTOS[0],
        member("pax", b"9999999999 path=x\n", tarfile.XHDTYPE) + PHOTOS[0],
        member("pax", b"0 path=x\n", tarfile.XHDTYPE) + PHOTOS[0],
        member("pax", b"\xff\xff path=x\n", tarfile.XHDTYPE) + PHOTOS[0],
        pax(path="y.jpg") * 9 + PHOTOS[0],
        pax(path="y.jpg"),
        pax(path="y.jpg") + END + PHOTOS[0],
    ],
)
def test_headers_that_lie_end_the_shard(tmp_path, content):
    found = read(tmp_path, PHOTOS[1] + content + END)
    assert found[0].image_id == "1"
    assert outcomes(found)[-1] == DAMAGED


def test_a_file_cut_behind_a_sparse_header(tmp_path):
    header = bytearray(member("x.jpg", kind=tarfile.GNUTYPE_SPARSE, size=100)[:512])
    header[482] = 1  # a block with more of the map follows
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert outcomes(read(tmp_path, bytes(header))) == [DAMAGED]


def test_what_is_no_file_is_no_image(tmp_path):
    kinds = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
    special = [member(f"{number}.jpg", kind=kind, linkname="z") for number, kind in enumerate(kinds)]
    sparse = member("x.jpg", b"1", tarfile.GNUTYPE_SPARSE)
    found = read(tmp_path, b"".join([*special, sparse, PHOTOS[5], END]))
    assert outcomes(found) == ["no_image"] * 6 + ["5"]
    assert "a sparse file" in found[5].message


def test_names_from_prefix_long_name_and_pax(tmp_path):
    name = f"{'folder/' * 30}x.jpg"
    for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=format) as tar:
            info = tarfile.TarInfo(name)
            info.size = len(jpeg())
            tar.addfile(info, io.BytesIO(jpeg()))
        (sample,) = read_webdataset(shard_of(tmp_path / "a.tar", "webdataset"))
        assert sample.image_id == name.removesuffix(".jpg")


def test_a_label_too_large_is_no_missing_label(tmp_path):
    (bad,) = read(tmp_path, PHOTOS[0] + member("0.cls", b"3".ljust(2**20 + 1)) + END)
    assert bad.error_type == ErrorType.BAD_LABEL
