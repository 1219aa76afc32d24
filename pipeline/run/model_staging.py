"""Bringing the model to workers on other machines: copied once into the output's store, loaded from there."""

import os
import tempfile
import uuid

from transforms.model import load as model
from transforms.output.layout import Layout
from transforms.predict.engine import Engine
from transforms.predict.engine_settings import EngineSettings
from transforms.store import files as store

_IMAGENET_COPY = "resnet50.keras"


def stage(settings: EngineSettings, engine: Engine, layout: Layout, fingerprint: str) -> EngineSettings:
    """Copies a model that only this machine has into the output; what is there already is not copied again.

    Args:
      engine: of these settings, which knows what is done to pixels; the copy may not tell.
      layout: of the output.
      fingerprint: of the model's content; names the copy.

    Returns:
      The settings with a source that every worker can read.
    """
    source, folder = settings.model.source, layout.model(fingerprint)
    if source == "imagenet":
        copy = store.join(folder, _IMAGENET_COPY)
        if not store.exists(copy):
            with tempfile.TemporaryDirectory() as scratch:
                saved = os.path.join(scratch, _IMAGENET_COPY)
                model.load_imagenet().save(saved)
                _copy(saved, copy, layout)
    elif source == "demo" or not store.is_local(source):
        return settings  # the workers have it, or read it where it lies
    elif os.path.isdir(source):
        copy = folder
        for path in model.files(source):
            _copy(path, store.join(folder, *os.path.relpath(path, source).split(os.sep)), layout)
    else:
        copy = store.join(folder, os.path.basename(source))
        _copy(source, copy, layout)
    staged = settings.model.model_copy(update={"source": copy, "preprocess": engine.description.preprocess})
    return settings.model_copy(update={"model": staged})


def _copy(path: str, copy: str, layout: Layout) -> None:
    if not store.exists(copy):
        temporary = layout.temporary(f"model-{uuid.uuid4().hex}", "file")
        store.write_bytes(copy, store.read_bytes(path), temporary)
        store.delete_folder(os.path.dirname(temporary))
