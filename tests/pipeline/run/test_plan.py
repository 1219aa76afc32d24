import dataclasses
import os
import pathlib
import re

import pytest

from pipeline.run.plan import make_plan
from tests.factories import jpeg, write_samples, write_tar
from transforms.output.layout import Layout
from transforms.output.plan import PlanError, read_plan, read_run_plan, write_plan
from transforms.read.settings import InputSettings


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path / "out"))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def plan(layout, *patterns, **settings):
    return make_plan(InputSettings(pattern=[str(pattern) for pattern in patterns], **settings), layout)


def keep(layout, made):
    """Writes a plan as a run does."""
    write_plan(layout.plan, [*made.shards, *made.elsewhere], layout.temporary("run", "plan"))
    return [shard.shard_id for shard in made.shards]


def put_images(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg())


def uris(made):
    return [os.path.basename(shard.uri) for shard in made.shards]


def later(path):
    """Sets a file's time to what it was not."""
    os.utime(path, (1, os.stat(path).st_mtime + 100))


def test_a_tar_is_a_shard(layout, data):
    path = write_samples(data / "a.tar", 2)
    (shard,) = plan(layout, path).shards
    assert (shard.uri, shard.format, shard.num_bytes, shard.members) == (path, "webdataset", os.path.getsize(path), ())
    assert shard.shard_id.startswith("a-")


def test_overlapping_patterns_are_deduplicated(layout, data, monkeypatch):
    for name in ("a.tar", "b.tar", "c.tar.gz"):
        write_tar(data / name, [])
    monkeypatch.chdir(data)
    made = plan(layout, data / "a.tar", data / "*.tar", data, "a.tar", "../data/b.tar")
    assert uris(made) == ["a.tar", "b.tar", "c.tar.gz"]


def test_formats_are_told_by_name(layout, data):
    for name in ("a.tar", "b.TAR", "c.tgz"):
        write_tar(data / name, [])
    put_images(data, "d.jpg", "sub/e.PNG")
    (data / "notes.txt").write_text("hello")
    made = plan(layout, data)
    assert [shard.format for shard in made.shards] == ["webdataset"] * 3 + ["images"]
    assert made.shards[-1].members == ("d.jpg", "sub/e.PNG")
    assert made.ignored == 1


def test_the_format_can_be_set(layout, data):
    write_tar(data / "shard-0001", [])
    with pytest.raises(PlanError, match=r"no shard or image among the 1 files .* set input.format"):
        plan(layout, data / "shard-*")
    assert [shard.format for shard in plan(layout, data / "shard-*", format="webdataset").shards] == ["webdataset"]


def test_nothing_found_is_one_line(layout, data):
    with pytest.raises(PlanError, match=r"no file matches the input '.*/none-.\.tar'"):
        plan(layout, data / "none-*.tar")
    with pytest.raises(PlanError, match="no file matches"):
        plan(layout, data)
    with pytest.raises(PlanError, match="no file matches"):
        plan(layout, data / "gone.tar")


@pytest.mark.parametrize(
    "name", ["with space & käse.tar", "dots.in.name.tar", "[odd].tar", "x" * 150 + ".tar", "_hidden.tar", "-.tar"]
)
def test_shard_ids_are_safe_as_file_names_and_differ(layout, data, name):
    write_tar(data / name, [])
    (data / "other").mkdir()
    write_tar(data / "other" / name, [])
    ids = [shard.shard_id for shard in plan(layout, data).shards]
    assert len(set(ids)) == 2
    for shard_id in ids:
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}", shard_id)
        assert shard_id[0] not in "_-"  # hidden from readers of Parquet folders; an option to many tools


def test_shard_ids_do_not_depend_on_the_other_shards(layout, data):
    write_tar(data / "b.tar", [])
    (alone,) = plan(layout, data).shards
    write_tar(data / "a.tar", [])
    assert alone in plan(layout, data).shards


def test_image_files_make_virtual_shards(layout, data):
    put_images(data, *(f"class_{n % 2}/{n}.jpg" for n in range(5)))
    made = plan(layout, data, images_per_shard=2)
    assert [shard.members for shard in made.shards] == [
        ("class_0/0.jpg", "class_0/2.jpg"),
        ("class_0/4.jpg", "class_1/1.jpg"),
        ("class_1/3.jpg",),
    ]
    assert [shard.shard_id[:11] for shard in made.shards] == ["data-00000-", "data-00001-", "data-00002-"]
    assert made.shards[0].num_bytes == 2 * len(jpeg())


def test_members_are_relative_to_the_folder_before_the_glob(layout, data):
    put_images(data, "a/1.jpg", "b/2.jpg")
    (shard,) = plan(layout, data / "*" / "*.jpg").shards
    assert (shard.uri, shard.members) == (str(data), ("a/1.jpg", "b/2.jpg"))
    (single,) = plan(layout, data / "a" / "1.jpg").shards
    assert (single.uri, single.members) == (str(data / "a"), ("1.jpg",))


def test_a_rerun_reuses_the_plan(layout, data):
    put_images(data, *(f"{n}.jpg" for n in range(5)))
    made = plan(layout, data, images_per_shard=2)
    keep(layout, made)
    assert list(read_plan(layout.plan)) == made.shards
    # cut as before, whatever the setting says now
    again = plan(layout, data, images_per_shard=3)
    assert (again.shards, again.changed) == (made.shards, [])


def test_new_files_become_new_shards_at_the_end(layout, data):
    put_images(data, "b.jpg", "c.jpg", "e.jpg")
    write_tar(data / "y.tar", [])
    first = keep(layout, plan(layout, data, images_per_shard=2))
    put_images(data, "a.jpg", "d.jpg", "f.jpg")
    write_tar(data / "x.tar", [])
    made = plan(layout, data, images_per_shard=2)
    assert [shard.shard_id for shard in made.shards][: len(first)] == first
    assert [shard.members or shard.uri for shard in made.shards[len(first) :]] == [
        str(data / "x.tar"),
        ("a.jpg", "d.jpg"),
        ("f.jpg",),
    ]
    ids = keep(layout, made)
    assert len(set(ids)) == len(ids)
    assert keep(layout, plan(layout, data, images_per_shard=2)) == ids


def test_a_changed_shard_is_noticed(layout, data):
    paths = [write_samples(data / f"{name}.tar", 1) for name in "ab"]
    ids = keep(layout, plan(layout, data))
    later(paths[1])
    made = plan(layout, data)
    assert made.changed == [ids[1]]
    assert made.shards[1].version != next(s for s in read_plan(layout.plan) if s.shard_id == ids[1]).version
    keep(layout, made)
    assert plan(layout, data).changed == []


def test_a_change_within_a_second_that_keeps_the_size_is_noticed(layout, data):
    path = write_samples(data / "a.tar", 1)
    os.utime(path, (1, 1_700_000_000.25))
    (shard_id,) = keep(layout, plan(layout, data))
    os.utime(path, (1, 1_700_000_000.5))
    assert plan(layout, data).changed == [shard_id]


def test_a_format_that_is_set_corrects_that_of_known_shards(layout, data):
    write_tar(data / "shard-0001", [])
    write_tar(data / "shard-0002", [])
    ids = keep(layout, plan(layout, data, format="tfrecord"))
    made = plan(layout, data / "shard-0001", format="webdataset")
    assert [(shard.shard_id, shard.format) for shard in made.shards] == [(ids[0], "webdataset")]
    assert (made.changed, [shard.format for shard in made.elsewhere]) == ([ids[0]], ["tfrecord"])
    keep(layout, made)
    for format in ("webdataset", "auto"):  # what is not set is as it was
        made = plan(layout, data / "shard-0001", format=format)
        assert ([shard.format for shard in made.shards], made.changed) == (["webdataset"], [])


@pytest.mark.parametrize(("old", "new"), [("images", "webdataset"), ("webdataset", "images")])
def test_a_shard_does_not_become_one_of_a_group_of_images_nor_the_reverse(layout, data, old, new):
    write_tar(data / "a.tar", [])
    (shard,) = plan(layout, data, format=old).shards
    keep(layout, plan(layout, data, format=old))
    message = f"has the shard {shard.shard_id} as {old}: for input.format={new} choose another --output"
    with pytest.raises(PlanError, match=message):
        plan(layout, data, format=new)
    put_images(data, "b.jpg")  # of another input, in the same output
    assert plan(layout, data / "b.jpg", format="images").shards[-1].members == ("b.jpg",)


def test_a_changed_or_missing_image_changes_its_group_alone(layout, data):
    put_images(data, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    ids = keep(layout, plan(layout, data, images_per_shard=2))
    (data / "d.jpg").unlink()
    made = plan(layout, data, images_per_shard=2)
    assert made.changed == [ids[1]]
    assert made.shards[1].members == ("c.jpg", "d.jpg")  # its place is kept, and becomes a reject


def test_shards_of_another_input_are_set_aside_and_come_back(layout, data):
    write_tar(data / "a.tar", [])
    write_tar(data / "b.tar", [])
    ids = keep(layout, plan(layout, data))
    made = plan(layout, data / "b.tar")
    assert [shard.shard_id for shard in made.shards] == [ids[1]]
    assert [shard.shard_id for shard in made.elsewhere] == [ids[0]]
    keep(layout, made)
    assert {shard.shard_id for shard in plan(layout, data).shards} == set(ids)


def test_an_output_within_the_input_is_not_its_own_input(data):
    write_samples(data / "a.tar", 2)
    inside = Layout(str(data / "labels"))
    put_images(data, "labels/images/a.jpg")
    assert uris(plan(inside, data)) == ["a.tar"]


def test_an_earlier_output_within_the_input_is_no_input(data, layout):
    write_samples(data / "a.tar", 2)
    earlier = Layout(str(data / "earlier"))
    keep(earlier, plan(earlier, data))
    put_images(data, "earlier/images/thumbnail.jpg")
    assert uris(plan(layout, data)) == ["a.tar"]


def test_of_overlapping_patterns_the_first_names_the_images(layout, data):
    put_images(data, "cats/a.jpg")
    (shard,) = plan(layout, data, data / "cats").shards
    assert (shard.uri, shard.members) == (str(data), ("cats/a.jpg",))


def test_a_folder_may_have_any_name(layout, data):
    put_images(data, "ph [2020]*/a.jpg")
    (shard,) = plan(layout, data / "ph [2020]*").shards
    assert shard.members == ("a.jpg",)


def test_a_run_without_its_plan_fails(tmp_path):
    with pytest.raises(PlanError, match="is gone, or this worker can't reach it: run the command again"):
        read_run_plan(str(tmp_path / "plan.jsonl"))


def test_shards_of_one_name_in_many_folders_have_ids_of_their_own(layout, data):
    """32 bits, as early versions took, are too few: of 10,000 such shards 1 % share one."""
    for name in ("x", "y"):
        (data / name).mkdir()
        write_samples(data / name / "data.tar", 1)
    ids = [shard.shard_id for shard in plan(layout, data).shards]
    assert len({*ids}) == len(ids)
    assert all(re.fullmatch(r".+-[0-9a-f]{32}", shard_id) for shard_id in ids)


def test_known_shards_keep_their_ids(layout, data):
    write_samples(data / "a.tar", 1)
    made = plan(layout, data)
    old = dataclasses.replace(made.shards[0], shard_id="a-0123abcd")
    write_plan(layout.plan, [old], layout.temporary("run", "plan"))
    assert plan(layout, data).shards[0].shard_id == "a-0123abcd"


def test_two_shards_of_one_id_are_refused(layout, data):
    write_samples(data / "a.tar", 1)
    first, *_ = plan(layout, data).shards
    write_plan(layout.plan, [first, dataclasses.replace(first, uri="/other/a.tar")], layout.temporary("run", "plan"))
    with pytest.raises(PlanError, match=r"/a\.tar both have the id .* choose another --output"):
        plan(layout, data)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        "null",
        '{"shard_id": "../../x", "uri": "/a", "format": "webdataset", "version": "1@1", "num_bytes": 1, "members": []}',
        '{"shard_id": "x", "uri": 5, "format": "webdataset", "version": "1@1", "num_bytes": 1, "members": []}',
        '{"shard_id": "x", "uri": "/a", "format": "webdataset", "version": "1@1", "num_bytes": 1, "other": []}',
    ],
)
def test_a_plan_that_is_none_is_one_line_with_a_way_out(layout, data, line):
    write_samples(data / "a.tar", 1)
    keep(layout, plan(layout, data))
    path = pathlib.Path(layout.plan)
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(PlanError, match=r"line \d+ of the plan .*shards.jsonl is damaged .* or delete it, and run"):
        plan(layout, data)


def test_folders_that_link_to_each_other_are_listed_once(layout, tmp_path):
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "x.jpg").write_bytes(jpeg())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.jpg").write_bytes(jpeg(1))
    for name in ("me", "too"):
        (folder / name).symlink_to(folder)
        (folder / "a" / name).symlink_to(folder / "a")
    (folder / "Elsewhere").symlink_to(tmp_path / "elsewhere")
    (shard,) = plan(layout, folder).shards
    assert shard.members == ("Elsewhere/y.jpg", "a/x.jpg")


def test_only_regular_files_are_shards(layout, data):
    write_samples(data / "a.tar", 1)
    os.mkfifo(data / "pipe.tar")
    (data / "folder.tar").mkdir()
    for pattern in (data, f"{data}/*.tar"):
        assert not any("pipe" in shard.uri or "folder" in shard.uri for shard in plan(layout, pattern).shards)
    with pytest.raises(PlanError, match="no file matches"):
        plan(layout, data / "pipe.tar")


def test_names_that_are_not_utf_8(layout, tmp_path):
    folder = os.fsencode(tmp_path) + b"/in\xff"
    os.mkdir(folder)
    path = os.fsdecode(folder + b"/a\xfe.tar")
    write_samples(path, 1)
    made = plan(layout, os.fsdecode(folder))
    keep(layout, made)
    assert [shard.uri for shard in made.shards] == [path]
    assert list(read_plan(layout.plan)) == made.shards
