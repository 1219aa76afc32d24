import time

import pytest

from tests.factories import shard
from transforms.read import limits
from transforms.read.formats import image_files
from transforms.read.formats.image_files import read_image_files
from transforms.read.samples import BadSample
from transforms.records import ErrorType, Sample
from transforms.store import files as store


def reasons(samples):
    return [sample.error_type for sample in samples if isinstance(sample, BadSample)]


def test_image_files_have_relative_ids(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.b.jpg").write_bytes(b"1")
    (tmp_path / "c.png").write_bytes(b"2")
    group = shard(tmp_path, "images", members=("c.png", "cats/a.b.jpg"))
    assert list(read_image_files(group)) == [
        Sample("c", f"{tmp_path}/c.png", b"2"),
        Sample("cats/a.b", f"{tmp_path}/cats/a.b.jpg", b"1"),  # the class folder is no label
    ]


def test_an_image_file_that_is_gone_or_too_large_keeps_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_ENCODED_BYTES", 3)
    (tmp_path / "a.jpg").write_bytes(b"1234")
    (tmp_path / "c.jpg").write_bytes(b"123")
    samples = list(read_image_files(shard(tmp_path, "images", members=("a.jpg", "b.jpg", "c.jpg"))))
    assert [sample.image_id for sample in samples] == ["a", "b", "c"]
    assert reasons(samples) == [ErrorType.TOO_MANY_BYTES, ErrorType.UNREADABLE]


@pytest.fixture
def opened(monkeypatch):
    """The paths that are opened for reading, as they are."""
    paths, open_read = [], store.open_read

    def recorded(path):
        paths.append(path)
        return open_read(path)

    monkeypatch.setattr(store, "open_read", recorded)
    return paths


def test_a_large_image_file_is_opened_once(tmp_path, opened):
    (tmp_path / "a.jpg").write_bytes(bytes(4 * 1024 * 1024 + 1))
    (sample,) = read_image_files(shard(tmp_path, "images", members=("a.jpg",)))
    assert len(sample.encoded) == 4 * 1024 * 1024 + 1
    assert opened == [f"{tmp_path}/a.jpg"]


def test_on_a_store_a_file_far_above_the_mean_is_read_when_its_turn_comes(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(store, "is_local", lambda path: False)
    monkeypatch.setattr(image_files, "SMALL_BYTES", 1)
    sizes = {"a.jpg": 2, "b.jpg": 10, "c.jpg": 3}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    group = shard(tmp_path, "images", members=tuple(sizes), num_bytes=15)  # a mean of 5: up to 10 are read ahead
    assert [len(sample.encoded) for sample in read_image_files(group)] == list(sizes.values())
    assert len(opened) == 3
    (tmp_path / "b.jpg").write_bytes(bytes(11))
    assert [len(sample.encoded) for sample in read_image_files(group)] == [2, 11, 3]
    assert sorted(opened[3:]) == [f"{tmp_path}/{name}" for name in ("a.jpg", "b.jpg", "b.jpg", "c.jpg")]


def test_image_files_read_ahead_take_bounded_memory(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(image_files, "AHEAD_BYTES", 350)
    members = tuple(f"{number:02d}.jpg" for number in range(20))
    for name in members:
        (tmp_path / name).write_bytes(bytes(100))
    found = read_image_files(shard(tmp_path, "images", members=members))
    next(found)
    time.sleep(0.2)
    assert 2 <= len(opened) <= 4  # the one that was asked for, and three of 100 bytes ahead of it
    assert len(list(found)) == 19
