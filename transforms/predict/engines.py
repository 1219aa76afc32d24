"""Which engine runs a model, and the one engine that a process shares.

A run takes the first of ENGINES that serves its model. To hand it an engine of your own, put that before the others:

    from transforms.predict.engines import ENGINES, EngineKind

    ENGINES.insert(0, EngineKind(MyEngine))  # MyEngine(settings: EngineSettings) is an `engine.Engine`

Class names and fingerprint still come from the model that the settings name. Worker processes, here or elsewhere, need
no list of their own: the step that calls the engine carries what builds it, by name or, from a script, by value.
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
      build: makes one. Only this imports the library that it computes with: other engines' workers may not have it.
      serves: tells whether engines of this kind run a model.
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
