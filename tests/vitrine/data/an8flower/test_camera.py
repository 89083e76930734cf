"""The turntable's rays: from one point, through the frame's pixels, and to a sun that turns with the camera."""

import numpy as np
import pytest

from vitrine.data.an8flower.camera import View, camera_rays

TARGET = np.array([0.0, 0.0, 1.30])


@pytest.mark.parametrize("azimuth", [0.0, 75.0, 200.0])
def test_all_rays_start_at_the_camera_and_the_middle_ones_meet_the_target(azimuth: float) -> None:
    rays = camera_rays(View(azimuth, 9, 1))
    assert rays.origins.shape == rays.directions.shape == rays.sun.shape == (81, 3)
    eye = rays.origins[0]
    assert (rays.origins == eye).all()
    assert np.linalg.norm(eye - TARGET) == pytest.approx(6.2, rel=1e-6)
    assert np.rad2deg(np.arctan2(eye[1], eye[0])) % 360 == pytest.approx(azimuth, abs=1e-4)
    np.testing.assert_allclose(eye + 6.2 * rays.directions[40], TARGET, atol=1e-5)


def test_rows_go_down_and_columns_to_the_right() -> None:
    directions = camera_rays(View(0.0, 8, 1)).directions.reshape(8, 8, 3)
    assert (np.diff(directions[:, 0, 2]) < 0).all()
    assert (np.diff(directions[0, :, 1]) > 0).all()  # seen from the x axis, y is to the right
    np.testing.assert_allclose(np.linalg.norm(directions, axis=2), 1, atol=1e-6)


def test_the_field_of_view_is_30_degrees_between_the_outer_edges_of_the_frame() -> None:
    middle = camera_rays(View(0.0, 101, 1)).directions.reshape(101, 101, 3)[50]
    angle = np.rad2deg(np.arccos(np.clip(middle[0] @ middle[-1], -1, 1)))
    between_centres = 2 * np.rad2deg(np.arctan(np.tan(np.deg2rad(15)) * 100 / 101))
    assert angle == pytest.approx(between_centres, abs=1e-3)


def test_sub_samples_are_the_pixels_of_a_larger_frame() -> None:
    np.testing.assert_array_equal(camera_rays(View(30.0, 4, 3)).directions, camera_rays(View(30.0, 12, 1)).directions)


def test_the_sun_turns_with_the_camera_and_is_a_small_disc() -> None:
    one, quarter = (camera_rays(View(azimuth, 2, 4)).sun for azimuth in (0.0, 90.0))
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(quarter, one @ turn.T, atol=1e-5)
    spread = np.rad2deg(np.arccos(np.clip(one @ one.mean(axis=0) / np.linalg.norm(one.mean(axis=0)), -1, 1)))
    assert 1 < spread.max() < np.rad2deg(0.08)
