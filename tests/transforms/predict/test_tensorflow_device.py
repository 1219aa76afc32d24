import pytest
import tensorflow as tf

from transforms.predict.device import cpu
from transforms.predict.tensorflow_device import configure_tensorflow, own_gpu, resolve


@pytest.fixture
def gpus(monkeypatch):
    """A function that makes TensorFlow see GPUs."""
    configure_tensorflow()

    def make(count, capability=(9, 0)):
        details = {"device_name": "a GPU", "compute_capability": capability}
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"GPU:{n}" for n in range(count)])
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)

    return make


def test_without_a_gpu_it_is_the_processor(gpus):
    gpus(0)
    assert resolve("auto") == cpu("auto")
    assert resolve("bfloat16") == cpu("bfloat16")


@pytest.mark.parametrize(
    ("capability", "precision"), [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")]
)
def test_auto_precision_on_gpus(gpus, capability, precision):
    gpus(1, capability)
    assert resolve("auto")[:3] == ("a GPU", True, precision)
    assert resolve("float32") == ("a GPU", True, "float32", "as configured")


def test_several_gpus_are_not_passed_over_in_silence(gpus, caplog):
    gpus(2)
    resolve("auto")
    assert "1 of 2 GPUs is used" in caplog.text
    assert "--direct_running_mode=multi_processing --direct_num_workers=2" in caplog.text


@pytest.mark.parametrize(
    ("worker", "gpu"), [(None, 0), ("worker_0", 0), ("worker_1", 1), ("worker_5", 1), ("sdk-0-3", 1), ("other", 0)]
)
def test_processes_take_gpus_in_turn(gpus, caplog, monkeypatch, worker, gpu):
    gpus(2)
    if worker:
        monkeypatch.setenv("WORKER_ID", worker)
    assert own_gpu(2) == gpu
    resolve("auto")
    assert ("GPUs is used" in caplog.text) == (worker in (None, "other"))


def test_float32_is_not_rounded_on_gpus():
    configure_tensorflow()
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
