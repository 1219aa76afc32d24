"""Bringing the model to workers on other machines: copied once into the output's store, loaded from there."""

import os
import uuid

from transforms.model.sources import find
from transforms.output.layout import Layout
from transforms.predict.engine import Engine
from transforms.predict.engine_settings import EngineSettings
from transforms.store import files as store


def stage(settings: EngineSettings, engine: Engine, layout: Layout, fingerprint: str) -> EngineSettings:
    """Copies a model that only this machine has into the output; what is there already is not copied again.

    Args:
      engine: built from these settings; it knows what is done to pixels, which the copy may not tell.
      layout: of the output.
      fingerprint: of the model's content; names the copy.

    Returns:
      The settings with a source that every worker can read.
    """

    def copy(path: str, place: str) -> None:
        if not store.exists(place):
            temporary = layout.temporary(f"model-{uuid.uuid4().hex}", "file")
            store.write_bytes(place, store.read_bytes(path), temporary)
            store.delete_folder(os.path.dirname(temporary))

    source = find(settings.model.source)
    location = source.stage(layout.model(fingerprint), copy)
    if location == source.location:  # the workers have it, or read it where it lies
        return settings
    changes = {"source": location, "preprocess": engine.description.preprocess}
    return settings.model_copy(update={"model": settings.model.model_copy(update=changes)})
