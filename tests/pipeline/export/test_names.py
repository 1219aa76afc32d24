"""Names of files, from ids that strangers wrote."""

import os.path
import posixpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.export.names import Names, safe_name
from pipeline.export.originals import extension_of
from tests.exported import png


@pytest.mark.parametrize(
    ("image_id", "flat", "dots", "name"),
    [
        ("photo.v2", False, True, "photo.v2"),
        ("cats/001", False, True, "cats/001"),
        ("cats/001", True, True, "cats__001"),
        ("photo.v2", True, False, "photo_v2"),
        ("../up", False, True, "_/up"),
        ("/etc/passwd", False, True, "etc/passwd"),
        ("", True, True, "_"),
        ("a~b", True, True, "a_b"),
        ("naïve 图", True, True, "naïve 图"),
        ("x" * 300, True, True, "x" * 100),
    ],
)
def test_safe_name(image_id, flat, dots, name):
    assert safe_name(image_id, flat, dots) == name


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300), st.booleans(), st.booleans())
def test_names_stay_in_their_folder(image_id, flat, dots):
    name = safe_name(image_id, flat, dots)
    assert posixpath.normpath(name) == name
    assert not os.path.isabs(name)
    assert not name.startswith("..")
    assert not set(name) & set('\\:*?"<>|~\n\r\0')
    assert not flat or "/" not in name
    assert len(name.encode()) <= 400


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["a", "A", "a~s~1", "a_s_1", "b", "b/", "x" * 120, "y" * 20 + "x" * 100]), max_size=8))
def test_names_are_unique(image_ids):
    names = Names([image_ids], flat=True)
    given_names = [names(image_id, "s", index) for index, image_id in enumerate(image_ids)]
    assert len({name.casefold() for name in given_names}) == len(image_ids)


def test_names_do_not_change_where_they_are_unique():
    names = Names([["a", "b"], ["b"]])
    assert names("a", "one", 0) == "a"
    assert names("b", "one", 1) == "b~one~1"
    assert names("b", "two", 0) == "b~two~0"


@pytest.mark.parametrize(
    ("uri", "encoded", "extension"),
    [
        ("/photos/a.JPEG", None, "JPEG"),  # as the file is called
        ("/shards/x.tar#a.webp", None, "webp"),
        ("/shards/x.tfrecord#12", None, "jpg"),  # nothing tells
        ("/shards/x.tfrecord#12", png(0), "png"),
    ],
)
def test_extension_of(uri, encoded, extension):
    assert extension_of(uri, encoded) == extension
