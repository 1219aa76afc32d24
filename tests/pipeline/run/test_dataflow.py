"""The jobs that the real command hands to Dataflow, built offline against an emulator of Google Cloud Storage."""

import base64
import bz2
import io
import json
import pathlib
import re
import runpy
import sys
import tarfile

import apache_beam as beam
import pytest

from pipeline import cli
from pipeline.run import graph
from pipeline.run.beam_options import parse
from scripts import dataflow_dry_run
from scripts.dataflow_dry_run import BUCKET, IMAGE, build, command, describe, emulated_storage

ROOT = pathlib.Path(__file__).parents[3]
GPU, CPU = (str(ROOT / "configs" / f"dataflow_{kind}.yaml") for kind in ("gpu", "cpu"))


@pytest.fixture
def bucket(monkeypatch):
    monkeypatch.chdir(ROOT)  # where setup.py is
    with emulated_storage() as bucket:
        yield bucket


@pytest.mark.parametrize("config", [GPU, CPU], ids=["gpu", "cpu"])
def test_what_is_asked_for(bucket, config):
    golden = ROOT / "tests" / "golden" / f"{pathlib.Path(config).stem}.json"
    assert describe(build(config, bucket)) == json.loads(golden.read_text())


def test_the_golden_job_keeps_reading_to_writing_in_one_stage():
    for path in (ROOT / "tests" / "golden").glob("dataflow_*.json"):
        found = json.loads(path.read_text())
        assert [step.partition("/")[0] for step in found["one stage"]] == list(graph_steps())
        assert all(step.endswith(dataflow_dry_run.PAR_DO) for step in found["one stage"])
        assert found["environments of the stage"] == 1
        assert not found["resource hints of the stage"]
        assert all(step.startswith(("Audit/", "Reshuffle/")) for step in found["shuffles"])


def graph_steps():
    return ("ReadShard", "Predict", "Locate", "Render", "WriteShard")


def test_the_description_sees_a_broken_chain(bucket, monkeypatch):
    monkeypatch.setattr(graph, "LocateObjects", lambda settings: beam.Reshuffle())
    found = describe(build(GPU, bucket))
    assert any(step.endswith(dataflow_dry_run.GROUP_BY_KEY) for step in found["one stage"])


def unpacked(objects):
    """What was written, and what Beam has pickled, compressed and encoded in it."""
    packed = [found for content in objects.values() for found in re.findall(rb"QlpoOT[\w+/]+=*", content)]
    return [*objects.values(), *(bz2.decompress(base64.b64decode(text)) for text in packed)]


def test_no_secrets_in_what_is_handed_over(bucket, monkeypatch):
    canaries = {
        "AWS_SECRET_ACCESS_KEY": "canary-aws",
        "HF_TOKEN": "canary-hf",
        "GOOGLE_API_KEY": "canary-google",
        "KAGGLE_KEY": "canary-kaggle",
    }
    for name, value in canaries.items():
        monkeypatch.setenv(name, value)
    written = unpacked(build(GPU, bucket).objects)
    assert any(b"CamModelHandler" in content for content in written)  # what was pickled is seen
    assert not any(b"canary-" in content for content in written)


def test_a_template_keeps_its_plan_and_what_workers_install_is_whole(bucket):
    written = build(CPU, bucket).objects
    (plan,) = (content for name, content in written.items() if re.fullmatch(r"labels/_tmp/.*/plan\.jsonl", name))
    assert [json.loads(line)["uri"] for line in plan.splitlines()] == [f"gs://{BUCKET}/shards/{n}.tar" for n in "ab"]
    (package,) = (content for name, content in written.items() if name.endswith("workflow.tar.gz"))
    members = {name.partition("/")[2] for name in tarfile.open(fileobj=io.BytesIO(package)).getnames()}
    modules = [str(path.relative_to(ROOT)) for top in ("pipeline", "transforms") for path in (ROOT / top).rglob("*.py")]
    assert {"README.md", "setup.py", "transforms/model/demo_resnet50.npz", *modules} <= members


def test_a_dry_run_writes_nothing(bucket, capsys):
    before = [blob.name for blob in bucket.list_blobs()]
    assert cli.main(command(GPU, f"--sdk_container_image={IMAGE}", "--dry_run=True")) == 0
    assert "Built the job of 2 shards; nothing was written." in capsys.readouterr().err
    assert [blob.name for blob in bucket.list_blobs()] == before


def test_the_flex_templates_launcher_ends_when_the_job_is_built(bucket, monkeypatch):
    options = ["--sdk_container_image", IMAGE, f"--template_location=gs://{BUCKET}/flex.json"]
    monkeypatch.setattr(sys, "argv", ["launch.py", *command(GPU, *options)[1:]])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "flex_template" / "launch.py"), run_name="__main__")
    assert not ended.value.code
    assert bucket.blob("flex.json").exists()


def test_the_flex_template_asks_for_options_that_exist():
    metadata = json.loads((ROOT / "flex_template" / "metadata.json").read_text())
    names = [parameter["name"] for parameter in metadata["parameters"]]
    own = {"config", "input", "output", "model", "set"}
    assert own < set(names)
    parse(["--runner=DataflowRunner", *(f"--{name}=x" for name in names if name not in own)])


def test_the_image_has_the_version_of_beam_that_submits_the_job():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"ARG BEAM_VERSION={beam.__version__}\n" in dockerfile
    for name in (ROOT / ".dockerignore").read_text().split("!")[1:]:
        assert (ROOT / name.split()[0]).exists()
