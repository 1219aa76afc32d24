"""SavedModels: folders that `tf.saved_model.save` or Keras' `export` wrote."""

import os

from transforms.cam.settings import CamSettings
from transforms.errors import UserError
from transforms.model.classifier import Classifier
from transforms.model.stored import StoredSource
from transforms.store import files as store


class SavedModel(StoredSource):
    """A SavedModel. It runs as it was saved, so that its maps are plain class activation maps."""

    form = "a folder with saved_model.pb"

    @classmethod
    def recognizes(cls, location: str) -> bool:
        return store.exists(store.join(location, "saved_model.pb"))

    def load(self, preprocess: str, cam: CamSettings) -> Classifier:
        if (cam.method, cam.resolution, cam.refine) != ("cam", 7, "none"):
            raise UserError(
                "a SavedModel runs as it was saved, so that cam.method=grad-cam, cam.resolution=14 and "
                "cam.refine=affinity need a .keras file"
            )
        from transforms.model import saved_graph

        name = os.path.basename(self.location.rstrip("/"))
        with self.local_path() as path:
            return saved_graph.classifier_of(path, name, preprocess, cam.weights)
