"""Keras models as features and a head."""

import keras

from transforms.cam import affinity, grad_cam, head
from transforms.cam.settings import CamSettings
from transforms.graph import dilation, fold, layers
from transforms.model import preprocess
from transforms.model.classifier import Classifier, square_side_px


def classifier_of(model: keras.Model, preprocess_kind: str, cam: CamSettings) -> Classifier:
    """Splits a Keras model.

    Args:
      preprocess_kind: as in `ModelSettings`; "auto" tells it by the model.

    Raises:
      UserError: its layers can't be listed, it has no head to read maps from, it can't have the resolution or the
        refinement, or does not tell how images are preprocessed.
    """
    graph = layers.flatten(model)
    found = grad_cam.find_head(graph) if cam.method == "grad-cam" else head.find_head(graph)
    if preprocess_kind == "auto":
        preprocess_kind = preprocess.guess(model.name, [call.kind for call in graph.calls])
    feature_graph = graph.until(found.features)
    changes = dilation.remove_last_stride(feature_graph) if cam.resolution == 14 else dilation.Dilation()
    values = [found.features, affinity.find_stage(feature_graph)] if cam.refine == "affinity" else [found.features]
    return Classifier(
        name=model.name,
        side_px=square_side_px(model.inputs[0].shape),
        preprocess=preprocess_kind,
        head=found,
        features=lambda dtype: fold.fold_values(feature_graph, values, dtype, changes),
        outputs=lambda images: model(images, training=False),
        map_step=2 if cam.resolution == 14 else 1,
    )
