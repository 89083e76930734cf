"""Camera rays: a camera and a sun that are fixed relative to each other and circle the plant."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_TARGET = np.array([0.0, 0.0, 1.30])
_DISTANCE = 6.2
_ELEVATION = 21.0
_FIELD_OF_VIEW = 30.0
_SUN = np.array([-0.62, 0.70, 1.30])
"""Direction of the sun: right, toward the camera, up."""
_SUN_RADIUS = 0.06
"""Radius of the sun over its distance: softness of shadows."""


@dataclass(frozen=True)
class View:
    """One frame: the camera's azimuth, the frame's size, and its supersampling."""

    azimuth: float
    """Degrees."""
    size: int
    """Side in pixels."""
    supersampling: int
    """Sub-samples along each side of a pixel."""


@dataclass(frozen=True)
class Rays:
    """One ray for each sub-sample, in row-major order."""

    origins: Floats
    """(N, 3)"""
    directions: Floats
    """(N, 3) unit length."""
    sun: Floats
    """(N, 3) unit vectors to a point of the sun; those of a pixel's sub-samples are spread over the sun's disc."""


def camera_rays(view: View) -> Rays:
    """The n × n rays of a view, n = size · supersampling."""
    angle, rise = np.deg2rad(view.azimuth), np.deg2rad(_ELEVATION)
    outward = np.array([np.cos(angle), np.sin(angle), 0.0])
    eye = _TARGET + _DISTANCE * (np.cos(rise) * outward + (0, 0, np.sin(rise)))
    forward = (_TARGET - eye) / _DISTANCE
    right = np.cross(forward, (0, 0, 1)) / np.cos(rise)
    up = np.cross(right, forward)
    n = view.size * view.supersampling
    across = np.tan(np.deg2rad(_FIELD_OF_VIEW / 2)) * (2 * (np.arange(n) + 0.5) / n - 1)
    directions = forward + across[None, :, None] * right - across[:, None, None] * up
    origins = np.broadcast_to(eye, directions.shape)
    sun = _SUN[0] * right + _SUN[1] * outward + _SUN[2] * np.array([0, 0, 1])
    return Rays(_flat(origins), _normalised(directions), _normalised(_soft_sun(sun, view)))


def _soft_sun(direction: NDArray[np.float64], view: View) -> NDArray[np.float64]:
    toward = direction / np.linalg.norm(direction)
    side = np.cross(toward, (0.0, 0.0, 1.0))
    side = side / np.linalg.norm(side)
    other = np.cross(side, toward)
    count = view.supersampling**2
    index = np.arange(count)
    radius, angle = _SUN_RADIUS * np.sqrt(index / count), index * np.pi * (3 - 5**0.5)
    spread = toward + (radius * np.cos(angle))[:, None] * side + (radius * np.sin(angle))[:, None] * other
    block = spread.reshape(view.supersampling, view.supersampling, 3)
    return np.tile(block, (view.size, view.size, 1))


def _flat(vectors: NDArray[np.float64]) -> Floats:
    return np.ascontiguousarray(vectors.reshape(-1, 3), np.float32)


def _normalised(vectors: NDArray[np.float64]) -> Floats:
    return _flat(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
