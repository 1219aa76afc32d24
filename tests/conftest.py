"""What every test gets: TensorFlow configured once and quiet, and state of the process that tests may set put back."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow

import logging
import pathlib
import sys

import pytest

from transforms.worker import live


def pytest_collection_finish(session):
    """TensorFlow's threads are set before anything runs on it: that would start it, and be too late."""
    if "tensorflow" in sys.modules or "keras" in sys.modules:
        from transforms.predict.tensorflow_device import configure_tensorflow

        configure_tensorflow()


@pytest.fixture(autouse=True)
def _process_state():
    """The stop flag and the levels of the loggers are the process's; the next test must not see what one left."""
    levels = {name: logging.getLogger(name).level for name in ("cambeam", "apache_beam", "absl", "tensorflow", "root")}
    yield
    live.resume()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real weights and photographs; tests that want it are skipped where there is none."""
    folder = os.environ.get("CAMBEAM_REAL_DATA")
    if not folder:
        pytest.skip("CAMBEAM_REAL_DATA is not set: no real weights and photographs")
    return pathlib.Path(folder)
