"""The real command, end to end. A tiny model where it does not matter which, so that a run takes half a second."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import apache_beam as beam
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from pipeline import cli
from pipeline.run import graph
from pipeline.run.execution import Execution
from tests.factories import encode, gradient, jpeg, tiny_model, write_samples, write_tar

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    tiny_model(classes=8).save(path)
    return str(path)


@pytest.fixture
def label(tiny, capsys):
    """A function that runs the command in this process; returns its exit code and what it said."""

    def run(source, output, *options, model=tiny):
        words = ["run", "--input", source, "--output", output, "--model", model, "--set", "model.batch_size=4"]
        code = cli.main([str(word) for word in [*words, *options]])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def data(tmp_path):
    """Three shards of 9, 4 and no images."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, count in (("a", 9), ("b", 4), ("c", 0)):
        write_samples(folder / f"{name}.tar", count)
    return folder


def rows(output):
    table = pyarrow.dataset.dataset(pathlib.Path(output) / "images").to_table()
    return table.sort_by([("shard_id", "ascending"), ("index_in_shard", "ascending")])


def rejects(output):
    table = pyarrow.dataset.dataset(pathlib.Path(output) / "rejects").to_table()
    return table.sort_by([("index_in_shard", "ascending")]).to_pylist()


def committed(output):
    """Returns the modification time of every committed file."""
    folders = [pathlib.Path(output) / name for name in ("images", "rejects", "_shards")]
    return {path.name: path.stat().st_mtime_ns for folder in folders for path in folder.glob("*")}


def test_a_run_labels_every_image_once(label, data, tmp_path):
    out = tmp_path / "out"
    code, said = label(data, out)
    assert code == 0
    assert "13 images labelled in " in said
    assert "images/s" in said
    assert f"output: {out}" in said
    table = rows(out)
    assert table["image_id"].to_pylist() == [f"{n:06d}" for n in [*range(9), *range(4)]]
    assert table["index_in_shard"].to_pylist() == [*range(9), *range(4)]
    assert table["label"].to_pylist() == [n % 8 for n in [*range(9), *range(4)]]
    for path in (out / "images").glob("*"):  # one file per shard, in the order of the shard
        assert pq.read_table(path)["index_in_shard"].to_pylist() == [*range(len(pq.read_table(path)))]
    assert sorted(path.name[:2] for path in (out / "images").glob("*")) == ["a-", "b-", "c-"]
    for row in table.to_pylist():
        box = row["box"]
        assert box is None or (
            0 <= box["x0"] < box["x1"] <= row["width"] and 0 <= box["y0"] < box["y1"] <= row["height"]
        )
        assert row["thumbnail"]["bytes"].startswith(b"\xff\xd8")
        (prediction,) = row["predictions"]
        assert (prediction["class_index"], prediction["cam_height"]) == (row["class_index"], 8)
    assert sorted(path.name for path in out.iterdir() if path.name != "_tmp") == [
        *("_SUCCESS", "_plan", "_run.json", "_shards", "images")
    ]
    assert not list((out / "_tmp").glob("*"))
    summary = json.loads((out / "_run.json").read_text())
    assert (summary["shards"], summary["read"], summary["written"], summary["rejected"]) == (3, 13, 13, 0)
    metadata = json.loads(pq.read_schema(next((out / "images").glob("a-*"))).metadata[b"cambeam"])
    assert metadata["config"]["boxes"]["threshold_frac"] == 0.4
    assert metadata["fingerprint"] == summary["fingerprint"]


def test_options_add_columns_and_classes(label, data, tmp_path):
    options = [f"--set=output.{name}=true" for name in ("logits", "embeddings", "activations")]
    options += ["--set=thumbnails.enabled=false", "--set=cam.top_k=2", "--set=cam.include_label=true"]
    names = tmp_path / "names.txt"
    names.write_text("".join(f"class number {n}\n" for n in range(8)))
    code, _ = label(data / "b.tar", tmp_path / "out", *options, f"--set=model.class_names={names}")
    assert code == 0
    for row in rows(tmp_path / "out").to_pylist():
        assert "thumbnail" not in row
        assert (len(row["logits"]), len(row["embedding"]), len(row["activations"])) == (8, 8, 8 * 8 * 8)
        assert row["class_name"] == f"class number {row['class_index']}"
        assert row["label"] in [prediction["class_index"] for prediction in row["predictions"]]
        assert len(row["predictions"]) in (2, 3)


def test_folders_of_images(label, tmp_path):
    for name in ("cats/1.jpg", "cats/2.jpg", "dogs/1.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(jpeg(len(name)))
    assert label(tmp_path / "in", tmp_path / "out", "--set=input.images_per_shard=2")[0] == 0
    table = rows(tmp_path / "out")
    assert table["image_id"].to_pylist() == ["cats/1", "cats/2", "dogs/1"]
    assert table["label"].to_pylist() == [None] * 3  # a class folder is not a label
    assert table["uri"][2].as_py() == str(tmp_path / "in" / "dogs" / "1.jpg")


def write_bad_tar(path):
    members = [
        ("good.jpg", jpeg(1)),
        ("truncated.jpg", jpeg(2, side_px=200)[:2000]),
        ("text.jpg", b"this is a text file\n"),
        ("zero.jpg", b""),
        ("without.cls", b"3"),
        ("label.jpg", jpeg(3)),
        ("label.cls", b"cat"),
        ("fine.png", encode(gradient())),
    ]
    return write_tar(path, members)


def test_bad_images_become_rejects_and_the_good_ones_rows(label, tmp_path):
    path, out = write_bad_tar(tmp_path / "bad.tar"), tmp_path / "out"
    code, said = label(path, out)
    assert code == 3
    assert "5 of 7 images were rejected, more than failures.max_fraction=0.01 allows" in said
    assert not (out / "_SUCCESS").exists()
    assert rows(out)["image_id"].to_pylist() == ["good", "fine"]
    assert rows(out)["index_in_shard"].to_pylist() == [0, 6]
    found = rejects(out)
    assert [(r["image_id"], r["index_in_shard"], r["stage"], r["error_type"]) for r in found] == [
        ("truncated", 1, "decode", "truncated"),
        ("text", 2, "decode", "unknown_format"),
        ("zero", 3, "decode", "empty"),
        ("without", 4, "read", "no_image"),
        ("label", 5, "read", "bad_label"),
    ]
    assert all(reject["message"] for reject in found)
    assert found[1]["uri"] == f"{path}#text.jpg"
    before = committed(out)
    code, said = label(path, out, "--set=failures.max_fraction=0.8")  # no other rows, so nothing is done anew
    assert code == 0
    assert "1 of 1 shards are done already" in said
    assert (out / "_SUCCESS").exists()
    assert committed(out) == before
    assert label(path, out)[0] == 3
    assert not (out / "_SUCCESS").exists()


def test_a_damaged_tar_keeps_what_came_before(label, tmp_path):
    path = pathlib.Path(write_samples(tmp_path / "a.tar", 6))
    path.write_bytes(path.read_bytes()[:9000])
    code, _ = label(path, tmp_path / "out")
    assert code == 3
    assert rows(tmp_path / "out").num_rows > 0
    assert [reject["error_type"] for reject in rejects(tmp_path / "out")] == ["damaged_shard"]


def test_a_rerun_does_what_is_left_and_touches_nothing_else(label, data, tmp_path):
    out = tmp_path / "out"
    label(data, out)
    expected, before = rows(out), committed(out)
    code, said = label(data, out)
    assert code == 0
    assert "3 of 3 shards are done already" in said
    assert committed(out) == before
    (marker,) = (out / "_shards").glob("b-*")
    marker.unlink()
    code, said = label(data, out)
    assert code == 0
    assert "2 of 3 shards are done already" in said
    assert "4 images labelled" in said
    changed = {name for name, time_ns in committed(out).items() if before[name] != time_ns}
    assert changed == {marker.name, f"{marker.stem}.parquet"}
    assert rows(out) == expected


@pytest.mark.parametrize("damage", ["deleted", "empty", "half", "another shard's"])
def test_rows_that_are_not_as_their_marker_says_are_made_again(label, data, tmp_path, damage):
    out = tmp_path / "out"
    label(data, out)
    expected = rows(out)
    (path,) = (out / "images").glob("b-*")
    (other,) = (out / "images").glob("a-*")
    content = {"empty": b"", "half": path.read_bytes()[:5000], "another shard's": other.read_bytes()}
    path.unlink()
    if damage in content:
        path.write_bytes(content[damage])
    code, said = label(data, out)
    assert code == 0, said
    assert rows(out) == expected
    assert (out / "_SUCCESS").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"shard_id": "other"}'])
def test_a_marker_that_is_none_is_made_again(label, data, tmp_path, text):
    out = tmp_path / "out"
    label(data, out)
    expected = rows(out)
    (marker,) = (out / "_shards").glob("b-*")
    marker.write_text(text)
    code, said = label(data, out)
    assert code == 0, said
    assert rows(out) == expected


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_settings_that_are_damaged_are_an_error_with_a_way_out(label, data, tmp_path, text):
    out = tmp_path / "out"
    label(data, out)
    settings = out / "_plan" / "settings.json"
    settings.write_text(text)
    code, said = label(data, out)
    assert (code, "settings.json is damaged: restore it, or delete it and run" in said) == (2, True)
    settings.unlink()
    code, said = label(data, out)
    assert (code, "0 images labelled" in said) == (0, True), said


def test_new_and_changed_shards_are_done_and_strangers_are_reported(label, data, tmp_path):
    out = tmp_path / "out"
    label(data, out)
    write_samples(data / "b.tar", 6)
    write_samples(data / "d.tar", 2, first=20)
    before = committed(out)
    code, said = label(data, out)
    assert code == 0
    assert "1 shards have changed since they were done" in said
    assert rows(out).num_rows == 9 + 6 + 0 + 2
    assert {name[0] for name, time_ns in committed(out).items() if before.get(name) != time_ns} == {"b", "d"}
    code, said = label(data / "d.tar", out)
    assert code == 0
    assert "3 shards in the output are not in this input" in said


def test_a_corrected_format_does_the_shards_again(label, tmp_path):
    source, out = tmp_path / "shard-0001", tmp_path / "out"
    write_samples(source, 5)
    assert label(source, out, "--set=input.format=tfrecord")[0] == 3
    assert rows(out).num_rows == 0
    code, said = label(source, out, "--set=input.format=webdataset")
    assert code == 0
    assert "1 shards have changed since they were done" in said
    assert rows(out)["image_id"].to_pylist() == [f"{n:06d}" for n in range(5)]
    assert not list((out / "rejects").glob("*"))
    assert "1 of 1 shards are done already" in label(source, out)[1]


def test_other_settings_are_refused_and_overwrite_replaces_the_rows(label, data, tmp_path):
    out = tmp_path / "out"
    label(data, out)
    expected, before = rows(out), committed(out)
    changed = "--set=boxes.threshold_frac=0.7"
    code, said = label(data, out, changed)
    assert code == 2
    assert "boxes.threshold_frac: 0.4 -> 0.7" in said
    assert "--overwrite" in said
    assert (committed(out), (out / "_SUCCESS").exists()) == (before, True)
    code, said = label(data, out, changed, "--overwrite")
    assert code == 0
    assert "13 images labelled" in said
    assert rows(out)["image_id"] == expected["image_id"]
    assert rows(out)["box"] != expected["box"]
    assert label(data, out, "--set=model.batch_size=3", changed)[0] == 0  # changes no row


def test_overwriting_a_part_of_other_settings_is_refused(label, data, tmp_path):
    out, changed = tmp_path / "out", "--set=boxes.threshold_frac=0.7"
    label(data, out)
    before = rows(out)
    code, said = label(data / "a.tar", out, changed, "--overwrite")
    assert code == 2
    assert "2 shards of them are not in this input and would stay, " in said
    assert rows(out).equals(before)


def test_another_model_is_another_fingerprint(label, data, tmp_path):
    out = tmp_path / "out"
    label(data, out)
    other = tmp_path / "other.keras"
    tiny_model(classes=8, seed=1).save(other)
    code, said = label(data, out, model=other)
    assert code == 2
    assert "model: " in said


def test_retry_failed_does_the_shards_with_rejects_again(label, data, tmp_path):
    out = tmp_path / "out"
    write_bad_tar(data / "bad.tar")
    label(data, out)
    expected, before = rows(out), committed(out)
    code, said = label(data, out, "--retry-failed")
    assert code == 3
    assert "3 of 4 shards are done already" in said
    changed = {name for name, time_ns in committed(out).items() if before[name] != time_ns}
    assert {name[:4] for name in changed} == {"bad-"}
    assert rows(out) == expected


class LocateAcrossAShuffle(graph.LocateObjects):
    def expand(self, batches):
        return super().expand(batches | beam.Reshuffle())


def test_a_reshuffle_in_the_chain_fails_and_names_the_cause(label, tmp_path, monkeypatch):
    source, out = tmp_path / "data", tmp_path / "out"
    source.mkdir()
    for number in range(4):
        write_samples(source / f"{number}.tar", 40)
    with monkeypatch.context() as patch:
        patch.setattr(graph, "LocateObjects", LocateAcrossAShuffle)
        code, said = label(source, out)
    assert code == 1
    assert "something between ReadShard and WriteShard" in said
    assert "has broken the chain" in said
    assert "the same command goes on from there" in said
    assert not (out / "_SUCCESS").exists()
    code, said = label(source, out)
    assert code == 0
    assert rows(out).num_rows == 160


def test_worker_processes_give_the_same_rows(label, data, tmp_path):
    label(data, tmp_path / "threads")
    options = ["--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    code, said = label(data, tmp_path / "processes", *options)
    assert code == 0
    assert "13 images labelled" in said  # counted by the markers
    assert rows(tmp_path / "processes") == rows(tmp_path / "threads")


def start(source, output, model):
    """Starts the command in a process of its own; returns it once the first shard is committed."""
    command = [sys.executable, "-m", "pipeline", "run", "--input", source, "--output", output, "--model", model]
    command += ["--set", "model.batch_size=4"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else a background job would pass on that it is ignored
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    before = len(committed(output))
    deadline = time.monotonic() + 120
    while len(committed(output)) <= before + 1:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


def test_a_run_that_is_stopped_and_then_killed_ends_like_an_undisturbed_one(label, tmp_path, tiny):
    source, out, undisturbed = tmp_path / "data", tmp_path / "out", tmp_path / "undisturbed"
    source.mkdir()
    write_samples(source / "00.tar", 60)
    for number in range(1, 30):
        os.link(source / "00.tar", source / f"{number:02d}.tar")

    stopped = start(source, out, tiny)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert "run the same command again to go on from there" in said
    assert "Traceback" not in said
    after_stop = committed(out)
    assert 0 < len(after_stop) < 2 * 30
    assert not list((out / "_tmp").glob("*"))

    killed = start(source, out, tiny)
    killed.kill()
    killed.communicate(timeout=60)
    after_kill = committed(out)
    assert len(after_stop) < len(after_kill) < 2 * 30
    assert list((out / "_tmp").glob("*"))  # of which the rerun's readers see nothing

    assert label(source, out)[0] == 0
    at_the_end = committed(out)
    assert len(at_the_end) == 2 * 30
    markers = {name for name in after_kill if name.endswith(".json")}
    assert all(at_the_end[name] == after_kill[name] for name in markers)
    assert all(at_the_end[name] == time_ns for name, time_ns in after_stop.items() if name in markers)
    assert label(source, undisturbed)[0] == 0
    assert rows(out) == rows(undisturbed)


def test_a_remote_job_that_is_left_running_keeps_its_temporary_files(label, data, tmp_path, monkeypatch):
    def interrupted(execution, on_poll):
        execution.job_id = "job-7"
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.run.beam_options.is_remote", lambda options: True)
    monkeypatch.setattr("pipeline.run.execution.Execution.run_to_end", interrupted)
    code, said = label(data, tmp_path / "out")
    assert code == 130
    assert "Left the job job-7 running" in said
    assert list((tmp_path / "out" / "_tmp").glob("*/plan.jsonl"))


def test_a_remote_job_of_which_nothing_more_is_heard_is_named(label, data, tmp_path, monkeypatch):
    def lost(execution, on_poll):
        execution.job_id = "job-7"
        raise RuntimeError("the job server is gone")

    monkeypatch.setattr("pipeline.run.beam_options.is_remote", lambda options: True)
    monkeypatch.setattr("pipeline.run.execution.Execution.run_to_end", lost)
    code, said = label(data, tmp_path / "out")
    assert code == 1
    assert "The run failed: RuntimeError: the job server is gone" in said
    assert "Its job is job-7: its runner's own tools show whether it runs still" in said


def test_progress_that_can_not_be_told_does_not_end_a_run(label, data, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.run.progress.Display.show", lambda display, state: 1 / 0)
    code, said = label(data, tmp_path / "out")
    assert code == 0
    assert "13 images labelled" in said


@pytest.mark.parametrize("broken", [shutil.rmtree, lambda out: (out / "_run.json").write_text("{")])
def test_totals_that_can_not_be_read_are_one_line(label, data, tmp_path, monkeypatch, broken):
    run_to_end = Execution.run_to_end

    def run_and_break(execution, on_poll):
        run_to_end(execution, on_poll)
        broken(tmp_path / "out")

    monkeypatch.setattr(Execution, "run_to_end", run_and_break)
    code, said = label(data, tmp_path / "out")
    assert code == 1
    (line,) = said.splitlines()
    assert line.startswith("The run has ended, but its totals can't be read: ")
    assert str(tmp_path / "out" / "_run.json") in line


def test_beam_options_of_the_config_reach_the_runner_and_not_the_rows(label, data, tmp_path):
    code, said = label(data, tmp_path / "bad", "--set", "beam.direct_num_wokers=2")
    assert code == 2
    assert "--direct_num_wokers=2" in said
    code, _ = label(data, tmp_path / "out", "--set", "beam.direct_num_workers=1")
    assert code == 0
    assert label(data, tmp_path / "out")[0] == 0  # no other settings, as far as rows go
    assert "beam" not in json.loads((tmp_path / "out" / "_run.json").read_text())["config"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--runner=PortableRunner", "--job_endpoint=localhost:1"], "no job server answers"),
        (["--environment_type=PROCESS"], "Option process_command is required"),
    ],
    ids=["job server", "option"],
)
def test_a_runner_that_can_not_be_used_leaves_the_output_as_it_was(label, data, tmp_path, monkeypatch, options, reason):
    monkeypatch.setattr("pipeline.run.beam_options.ANSWER_SECONDS", 0.2)
    out = tmp_path / "out"
    label(data, out)
    write_samples(data / "b.tar", 6)  # would be done again
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    code, said = label(data, out, *options)
    assert code == 2
    assert reason in said
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("local", ["input", "output"])
def test_dataflow_takes_no_local_paths(label, data, tmp_path, local):
    source = data if local == "input" else "gs://bucket/in/*.tar"
    out = tmp_path / "out" if local == "output" else "gs://bucket/out"
    code, said = label(source, out, "--runner=DataflowRunner", "--project=p", "--region=us-central1")
    assert code == 2
    assert said.startswith(f"cambeam: workers of Dataflow can't reach {str(data if local == 'input' else out)!r}")
    assert not (tmp_path / "out").exists()
