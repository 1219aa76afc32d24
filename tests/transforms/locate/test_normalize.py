import cv2
import numpy as np
import pytest

from transforms.locate import normalize as cam


def test_upsampled_map_is_the_map_of_upsampled_features():
    rng = np.random.default_rng(1)
    features, weights = rng.random((7, 7, 16)).astype(np.float32), rng.normal(size=16).astype(np.float32)
    upsampled_features = cv2.resize(features, (60, 40), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(cam.upsample(features @ weights, 60, 40), upsampled_features @ weights, atol=1e-5)


def test_upsampling_is_half_pixel_centred():
    # the centres of 0 and 1 lie at 0.25 and 0.75 of the width, those of the four new pixels at 1/8, 3/8, 5/8, 7/8
    up = cam.upsample(np.array([[0.0, 1.0]], np.float32), 4, 1)
    assert up.tolist() == [[0.0, 0.25, 0.75, 1.0]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minmax", [0.0, 0.25, 0.5, 1.0]),  # (x + 1) / 4
        ("max", [0.0, 0.0, 1 / 3, 1.0]),  # negatives to 0, then x / 3
        # the 45th percentile of -1, 0, 1, 3 lies at place 1.35 of 0..3: 0.35; (x - 0.35) / 2.65
        ("ivr", [0.0, 0.0, 0.65 / 2.65, 1.0]),
        # the 95th lies at place 2.85: 1 + 0.85 * 2; negatives to 0, then x / 2.7, and 1 beyond
        ("pas", [0.0, 0.0, 1 / 2.7, 1.0]),
    ],
)
def test_normalizations(name, expected):
    raw = np.array([[-1.0, 0.0], [1.0, 3.0]], np.float32)
    normalized = cam.normalize(raw, name, 45.0)
    np.testing.assert_allclose(normalized.ravel(), expected, atol=1e-6)
    assert normalized.dtype == np.float32
    assert raw.tolist() == [[-1.0, 0.0], [1.0, 3.0]]  # the argument is left alone


@pytest.mark.parametrize("name", list(cam.NORMALIZATIONS))
@pytest.mark.parametrize("value", [-2.0, 0.0, 5.0])
def test_constant_maps_become_finite(name, value):
    normalized = cam.normalize(np.full((3, 3), value, np.float32), name, 45.0)
    # of a positive constant map "max" and "pas" are 1 everywhere; in all others nothing stands out
    assert normalized.tolist() == np.full((3, 3), float(name in ("max", "pas") and value > 0)).tolist()


def test_a_peak_smaller_than_the_percentile_is_its_own_standard():
    raw = np.zeros((10, 10), np.float32)
    raw[3, 4] = 2.0
    np.testing.assert_array_equal(cam.percentile_as_standard(raw), raw / 2)


def test_the_percentile_of_ivr():
    raw = np.arange(5, dtype=np.float32)[None]
    np.testing.assert_allclose(cam.normalize(raw, "ivr", 50.0), [[0, 0, 0, 0.5, 1]])  # (x - 2) / 2
    np.testing.assert_array_equal(cam.normalize(raw, "max", 50.0), cam.max_only(raw))


@pytest.mark.parametrize("name", list(cam.NORMALIZATIONS))
def test_maps_of_denormal_range_are_constant(name):
    raw = np.zeros((2, 2), np.float32)
    raw[0, 0] = 1e-45  # one over it is no float32
    assert not cam.normalize(raw, name, 45.0).any()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("percentile", [0.0, 12.3, 45.0, 50.0, 95.0, 99.9])
def test_percentiles_are_numpys_to_the_last_bit(size, percentile):
    for seed in range(10):
        raw = np.random.default_rng(seed).normal(size=(size, size)).astype(np.float32)
        low, high = np.percentile(raw, percentile), raw.max()
        expected = (np.maximum(raw, low) - low) / (high - low) if high > low else np.zeros_like(raw)
        np.testing.assert_array_equal(cam.inferior_value_removal(raw, percentile), expected)
