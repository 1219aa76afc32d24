"""Which engine runs a model, and how a run is handed one of its own."""

import json
import subprocess
import sys

import pytest

from tests.factories import FakeEngine, engine_settings, write_samples
from transforms.predict import engines
from transforms.predict.engines import EngineKind, engine_builder, shared_engine
from transforms.predict.tensorflow_engine import TensorFlowEngine


@pytest.fixture
def own(monkeypatch):
    """A list of engines in which the fake one comes first, for models that are called fake."""
    kinds = [EngineKind(FakeEngine, lambda model: model.source.startswith("fake")), *engines.ENGINES]
    monkeypatch.setattr(engines, "ENGINES", kinds)


def test_the_first_engine_that_serves_a_model_runs_it(own):
    assert engine_builder(engine_settings("demo")) is TensorFlowEngine
    assert engine_builder(engine_settings("fake.keras")) is FakeEngine


def test_a_process_has_one_engine(own):
    one = shared_engine(engine_settings("fake.keras"))
    assert shared_engine(engine_settings("fake.keras")) is one
    assert shared_engine(engine_settings("fake.keras"), FakeEngine) is one
    other = shared_engine(engine_settings("fake.keras", top_k=2))
    assert other is not one


SCRIPT = """
import sys
from pipeline import cli
from tests.factories import FakeEngine, predictions
from transforms.predict.engines import ENGINES, EngineKind

class Mine(FakeEngine):
    def predict(self, pixels, labels):
        return predictions(len(pixels))

ENGINES.insert(0, EngineKind(Mine))
code = cli.main(sys.argv[1:])
print([name for name in ("tensorflow", "keras") if name in sys.modules])
sys.exit(code)
"""


@pytest.mark.parametrize("mode", ["in_memory", "multi_processing"])
def test_a_run_takes_an_engine_of_its_own_and_needs_no_tensorflow_then(tmp_path, mode):
    for number in range(2):
        write_samples(tmp_path / f"{number}.tar", 3)
    words = ["run", "--input", f"{tmp_path}/*.tar", "--output", f"{tmp_path}/out", "--model", "demo"]
    options = [f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words, *options], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"
    markers = [json.loads(path.read_text()) for path in (tmp_path / "out" / "_shards").iterdir()]
    assert [(marker["written"], marker["device"]) for marker in markers] == [(3, "a fake")] * 2
