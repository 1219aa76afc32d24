"""The counters and distributions of a run of the whole graph, and that the documentation lists them."""

import pathlib
import re

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipeline import config
from pipeline.run import graph
from pipeline.run.fingerprint import fingerprint
from pipeline.run.job import Job
from tests.factories import FakeEngine, encode, engine_settings, gradient, shard, write_tar
from transforms.output.layout import Layout
from transforms.output.plan import write_plan
from transforms.predict import engines
from transforms.worker.metrics import NAMESPACE

DOCS = pathlib.Path(__file__).parents[3] / "docs" / "metrics.md"
OF_BEAM = {
    "inference_batch_latency_micro_secs",
    "inference_request_batch_byte_size",
    "inference_request_batch_size",
    "load_model_latency_milli_secs",
    "model_byte_size",
    "num_inferences",
}


def run(folder, shards):
    """Runs the graph with a fake model of batches of 4; returns the counters and the distributions by name."""
    settings = config.parse({"model": {"source": "demo"}, "failures": {"max_fraction": 1.0}})
    layout, names = Layout(str(folder / "out")), [str(number) for number in range(256)]
    job = Job(settings, layout, "run", {}, engine_settings(batch_size=4), 32, names, {"fingerprint": fingerprint({})})
    write_plan(job.plan_path, shards, f"{job.plan_path}.part")
    pipeline = beam.Pipeline(runner=FnApiRunner())
    graph.label_images(pipeline, job)
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(NAMESPACE))
    counters = {metric.key.metric.name: metric.committed for metric in found["counters"]}
    return counters, {metric.key.metric.name: metric.committed for metric in found["distributions"]}


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A shard of six good images, one that is no image and one that the model fails on; and the same again."""
    monkeypatch.setattr(engines, "ENGINES", [engines.EngineKind(FakeEngine)])
    good = encode(gradient())
    thirteen = encode(np.full((32, 32, 3), 13, np.uint8))
    contents = [good, good, b"no image", good, good, thirteen, good, good]
    members = [(f"{number}.png", content) for number, content in enumerate(contents)] + [("._0.png", b"?")]
    shards = [shard(write_tar(tmp_path / "a.tar", members))]
    return tmp_path, sum(map(len, contents)), run(tmp_path, shards), run(tmp_path, shards)


def test_metrics_of_a_run(measured):
    folder, encoded_bytes, (counters, distributions), (again, _) = measured
    (images,) = (folder / "out" / "images").iterdir()
    assert {name: count for name, count in counters.items() if name not in OF_BEAM | {"thumbnail_bytes"}} == {
        "images_read": 8,
        "images_decoded": 7,
        "images_rejected_unknown_format": 1,
        "images_rejected_inference_failed": 1,
        "members_ignored": 1,
        "encoded_bytes": encoded_bytes,
        "boxes_found": 6,
        "images_written": 6,
        "shards_committed": 1,
        "committed_bytes": images.stat().st_size,
    }
    assert counters["thumbnail_bytes"] > 6 * 300
    sizes = distributions["batch_images"]
    assert (sizes.count, sizes.sum, sizes.min, sizes.max) == (2, 7, 3, 4)  # eight in batches of four, one not decoded
    per_batch = ("decode", "predict", "locate", "render", "write")
    assert {name: distributions[name].count for name in distributions if name.startswith("batch_")} == {
        "batch_images": 2
    } | {f"batch_{stage}_ms": 2 for stage in per_batch}
    assert distributions["shard_commit_ms"].count == 1
    assert {name: count for name, count in again.items() if name not in OF_BEAM} == {"shards_already_done": 1}


def test_the_documentation_lists_them(measured):
    _, _, (counters, distributions), (again, _) = measured
    text = DOCS.read_text()
    listed = set(re.findall(r"^\| `(\w+)` ", text, re.MULTILINE))
    found = {re.sub("^images_rejected_.*", "images_rejected_TYPE", name) for name in counters | distributions | again}
    assert listed - OF_BEAM == found - OF_BEAM
