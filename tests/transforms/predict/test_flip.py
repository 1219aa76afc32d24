"""Averaging with the mirrored image."""

import numpy as np

from tests.small_models import engine_of, pixels, resnet


def test_maps_are_averaged_and_scores_are_not(tmp_path):
    model, images = resnet(), pixels()
    labels = [0, 1, 2]
    settings = {"top_k": 5, "include_label": True}
    plain = engine_of(model, tmp_path, **settings)
    one, other = plain.predict(images, labels), plain.predict(images[:, :, ::-1], labels)
    got = engine_of(model, tmp_path, **settings, flip=True).predict(images, labels)
    np.testing.assert_allclose(got.logit, one.logit, atol=1e-5)
    np.testing.assert_allclose(got.probability, one.probability, atol=1e-6)
    for row in range(len(images)):
        for place, class_index in enumerate(one.class_index[row]):
            mirrored = other.cams[row, list(other.class_index[row]).index(class_index), :, ::-1]
            np.testing.assert_allclose(got.cams[row, place], (one.cams[row, place] + mirrored) / 2, atol=1e-5)
            if place == 0:
                np.testing.assert_allclose(got.mirror_pair[row], [one.cams[row, 0], mirrored], atol=1e-5)
    assert np.abs(got.cams - one.cams).max() > 0.01
