"""Models that Keras 3 saved as a .keras file."""

from transforms.cam.settings import CamSettings
from transforms.errors import UserError
from transforms.model.classifier import Classifier
from transforms.model.source import ModelError
from transforms.model.stored import StoredSource
from transforms.store import files as store


class KerasFile(StoredSource):
    """A .keras file, loaded in safe mode: no code in it is run."""

    form = "the path of a .keras file"

    @classmethod
    def recognizes(cls, location: str) -> bool:
        return location.endswith(".keras")

    def load(self, preprocess: str, cam: CamSettings) -> Classifier:
        import keras

        from transforms.model.keras_classifier import classifier_of

        if not store.exists(self.location):
            raise ModelError(f"no model file at {self.location!r}")
        with self.local_path() as path:
            try:
                model = keras.saving.load_model(path, compile=False, safe_mode=True)
            except Exception as error:  # a damaged archive, code that safe mode refuses, a layer that is not Keras' own
                raise UserError(f"it can't be loaded as a Keras model: {error}") from error
        return classifier_of(model, preprocess, cam)
