"""Generated scenes with one labelled shape and its exact box: the demo's images and the demo model's training data."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from transforms.model.demo import CLASS_NAMES

_CANVAS = 512  # side of the square that a shape is drawn in before it is placed
_MIN_CONTRAST = 70.0  # between the mean colours of shape and background, Euclidean in RGB


class Scene(NamedTuple):
    """One image with one object.

    Attributes:
      image: (height, width, 3) uint8 RGB.
      label: index into CLASS_NAMES.
      box: (x0, y0, x1, y1) in pixels of the image, x1/y1 exclusive.
    """

    image: np.ndarray
    label: int
    box: tuple[int, int, int, int]


def draw_scene(seed: int) -> Scene:
    """Draws the scene that belongs to a seed: 224 to 448 px a side, at most 3:2, one of eight shapes on a texture."""
    rng = np.random.default_rng(seed)
    short = int(rng.integers(224, 300))
    long = int(short * rng.uniform(1.0, 1.5))
    width, height = (long, short) if rng.random() < 0.5 else (short, long)
    label = int(rng.integers(len(CLASS_NAMES)))
    mask = _place(_outline(label), rng, width, height)
    y, x = np.nonzero(mask > 127)
    box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
    background_rgb = rng.uniform(0, 255, 3)
    shape_rgb = background_rgb
    while np.linalg.norm(shape_rgb - background_rgb) < _MIN_CONTRAST:
        shape_rgb = rng.uniform(0, 255, 3)
    alpha = mask[..., None].astype(np.float32) / 255
    shape, background = (_texture(rng, width, height, rgb) for rgb in (shape_rgb, background_rgb))
    image = np.clip(shape * alpha + background * (1 - alpha) + rng.normal(0, 4, shape.shape), 0, 255)
    return Scene(image.astype(np.uint8), label, box)


def _outline(label: int) -> np.ndarray:
    """Returns the (512, 512) uint8 mask of one shape, upright and centred."""
    mask = np.zeros((_CANVAS, _CANVAS), np.uint8)
    middle, radius = _CANVAS // 2, 180

    def polygon(*points: Sequence[float] | np.ndarray) -> None:
        scaled = np.asarray(points, np.float64) * radius + middle
        cv2.fillPoly(mask, [scaled.round().astype(np.int32)], 255, cv2.LINE_AA)

    def disc(x: float, y: float, r: float, value: int) -> None:
        cv2.circle(
            mask, (middle + round(x * radius), middle + round(y * radius)), round(r * radius), value, -1, cv2.LINE_AA
        )

    match CLASS_NAMES[label]:
        case "circle":
            disc(0, 0, 1, 255)
        case "square":
            polygon((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85))
        case "triangle":
            polygon((0, -1), (0.95, 0.8), (-0.95, 0.8))
        case "star":
            angles = np.arange(10) * np.pi / 5 - np.pi / 2
            radii = np.where(np.arange(10) % 2, 0.42, 1.0)
            polygon(*np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1))
        case "cross":
            a, b = 0.32, 0.95
            quarter, turn = np.array([(-a, -b), (a, -b), (a, -a)]), np.array([(0, 1), (-1, 0)])
            polygon(*np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)]))
        case "ring":
            disc(0, 0, 1, 255)
            disc(0, 0, 0.55, 0)
        case "crescent":
            disc(0, 0, 1, 255)
            disc(0.45, 0, 0.8, 0)
        case "arrow":
            polygon((-1, -0.28), (0.1, -0.28), (0.1, -0.75), (1, 0), (0.1, 0.75), (0.1, 0.28), (-1, 0.28))
    return mask


def _place(outline: np.ndarray, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Turns, scales and moves an outline to a random place wholly inside a (height, width) mask."""
    size_px = rng.uniform(0.35, 0.75) * min(width, height)
    scale = size_px / 360 * np.array([rng.uniform(0.85, 1.15), 1.0])
    turn = np.deg2rad(rng.uniform(-25, 25))
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * scale
    y, x = np.nonzero(outline > 127)
    spread = np.stack([x, y], 1) @ linear.T
    low, high = spread.min(0), spread.max(0)
    room = np.array([width, height]) - (high - low) - 4
    offset = 2 + rng.uniform(0, 1, 2) * np.maximum(room, 0) - low
    return cv2.warpAffine(outline, np.column_stack([linear, offset]), (width, height), flags=cv2.INTER_AREA)


def _texture(rng: np.random.Generator, width: int, height: int, rgb: np.ndarray) -> np.ndarray:
    """Returns (height, width, 3) float32: a colour with smooth noise of three grains and faint stripes."""
    texture = np.broadcast_to(rgb.astype(np.float32), (height, width, 3)).copy()
    for grain_px, strength in ((96, 18), (32, 12), (8, 8)):
        noise = rng.normal(0, strength, (height // grain_px + 2, width // grain_px + 2, 3)).astype(np.float32)
        texture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    angle, period_px = rng.uniform(0, np.pi), rng.uniform(6, 40)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period_px))
    return texture + stripes[..., None] * np.float32(rng.uniform(0, 15))
