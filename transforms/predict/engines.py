"""Which engine runs a model, and the one engine that a process shares.

A run takes the first of ENGINES that serves its model. To hand it an engine of your own, put that before the others:

    from transforms.predict.engines import ENGINES, EngineKind

    ENGINES.insert(0, EngineKind(MyEngine))  # MyEngine(settings: EngineSettings) has what `engine.Engine` says

Workers are sent what builds the engine along with the step that calls it, so that they need not fill their own list:
processes on this machine or on others import it by its name, or unpickle it where it belongs to the script itself.
"""

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

from transforms.model.settings import ModelSettings
from transforms.predict.engine import Engine
from transforms.predict.engine_settings import EngineSettings
from transforms.predict.tensorflow_engine import TensorFlowEngine
from transforms.store import files as store

EngineBuilder = Callable[[EngineSettings], Engine]


class EngineKind(NamedTuple):
    """A kind of engine.

    Attributes:
      build: makes one; imports the library that it computes with, which not every worker has.
      serves: tells whether it runs a model.
    """

    build: EngineBuilder
    serves: Callable[[ModelSettings], bool] = lambda model: True


ENGINES = [EngineKind(TensorFlowEngine)]


def engine_builder(settings: EngineSettings) -> EngineBuilder:
    """Returns what builds the engine for these settings."""
    return next(kind.build for kind in ENGINES if kind.serves(settings.model))


@functools.lru_cache(maxsize=1)
def _built(settings: EngineSettings, build: EngineBuilder, version: tuple[tuple[str, int, float], ...]) -> Engine:
    return build(settings)


def _version(location: str) -> tuple[tuple[str, int, float], ...]:
    """Returns what changes when a model of this machine is saved again under its name: sizes and times of its files."""
    if not (os.path.isabs(location) and os.path.exists(location)):
        return ()
    files = store.files_below(location) or [store.metadata(location)]
    return tuple((file.path, file.size_in_bytes, file.last_updated_in_seconds) for file in files)


def shared_engine(settings: EngineSettings, build: EngineBuilder | None = None) -> Engine:
    """Returns the process's engine for these settings, built at the first call, and when the model has changed since.

    Args:
      build: by default what ENGINES says.

    Raises:
      ModelError: there is no such model, or it can't be used.
    """
    return _built(settings, build or engine_builder(settings), _version(settings.model.source))
