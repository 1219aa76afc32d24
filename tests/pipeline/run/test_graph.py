import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import fn_runner

from pipeline import config
from pipeline.run import graph
from pipeline.run.job import Job
from transforms.output.layout import Layout
from transforms.predict.engine_settings import EngineSettings

CHAIN = ("ReadShard", "Predict", "Locate", "Render", "WriteShard")


def stages_of(folder, **settings):
    """Returns the names of the transforms in each stage that the in-process runner makes of the graph."""
    parsed = config.parse({"model": {"source": "demo"}} | settings)
    job = Job(parsed, Layout(folder), "run", {}, EngineSettings(), 224, [str(n) for n in range(8)], {})
    runner = fn_runner.FnApiRunner()
    pipeline = beam.Pipeline(runner=runner)
    graph.label_images(pipeline, job)
    proto = pipeline.to_runner_api(default_environment=runner._default_environment)
    _, stages = runner.create_stages(proto)
    return [[transform.unique_name for transform in stage.transforms] for stage in stages]


def steps_in(stage):
    return [step for step in CHAIN if any(name.startswith((f"{step}/", step)) for name in stage)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, list(CHAIN)),
        ({"thumbnails": {"enabled": False}}, [step for step in CHAIN if step != "Render"]),
        ({"output": {"activations": True, "logits": True}, "boxes": {"components": "all"}}, list(CHAIN)),
    ],
)
def test_reading_to_writing_is_one_stage(tmp_path, settings, expected):
    holding = [stage for stage in stages_of(str(tmp_path), **settings) if steps_in(stage)]
    assert [steps_in(stage) for stage in holding] == [expected]


def test_the_test_sees_a_broken_chain(tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "LocateObjects", lambda settings: beam.Reshuffle())
    holding = [stage for stage in stages_of(str(tmp_path)) if steps_in(stage)]
    assert len(holding) > 1


def test_nothing_is_merged_between_reading_and_writing(tmp_path):
    names = [name for stage in stages_of(str(tmp_path)) for name in stage]
    assert not any("Flatten" in name for name in names if not name.startswith("Audit"))
