"""Heatmaps placed back on their pictures: geometry against the preprocessing's own, modes, orientation, errors."""

import numpy as np
import pytest
import torch
from PIL import Image

from vitrine.data.preprocessing import Preprocessing
from vitrine.visualization.source_overlay import overlay_on_source, to_source

GEOMETRIES = [
    (Preprocessing(size=64, resize=72), (120, 90)),
    (Preprocessing(size=64, resize=64), (90, 120)),
    (Preprocessing(size=64, resize=None), (150, 40)),
    (Preprocessing(size=64, resize=80), (31, 23)),
    (Preprocessing(size=32, resize=40), (37, 37 * 40)),
]


def smooth_picture(width: int, height: int) -> Image.Image:
    rows = np.linspace(0.1, 0.9, height)[:, None]
    columns = np.linspace(0.9, 0.2, width)[None]
    colours = np.stack([rows + 0 * columns, columns + 0 * rows, rows * columns], axis=-1)
    return Image.fromarray(np.rint(255 * colours).astype(np.uint8))


@pytest.mark.parametrize(("preprocessing", "size"), GEOMETRIES)
def test_the_input_itself_placed_back_is_the_picture(preprocessing: Preprocessing, size: tuple[int, int]) -> None:
    picture = smooth_picture(*size)
    inputs = preprocessing.denormalize(preprocessing(picture)[None])[0]
    original = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    for placed, channel in zip((to_source(one, preprocessing, size) for one in inputs), original, strict=True):
        shown = ~placed.isnan()
        x0, y0, x1, y1 = preprocessing.source_window(size[1], size[0])
        assert shown.sum() == pytest.approx((x1 - x0) * (y1 - y0), rel=0.08)
        error = (placed - channel)[shown]
        assert error.abs().max() < 0.5 / min(*size, preprocessing.size) + 2 / 255
        # A quarter of an input's pixel off would shift the mean of the slanted channels by this much.
        assert abs(error.mean()) < 0.25 * 0.7 / preprocessing.size


def test_a_spot_comes_back_to_its_place() -> None:
    preprocessing, size = Preprocessing(size=64, resize=72), (144, 216)
    heatmap = torch.zeros(64, 64)
    heatmap[10, 50] = 1
    placed = to_source(heatmap, preprocessing, size).nan_to_num()
    # 2 pixels of the picture are one of the input; the crop begins at 2·4 = 8 and 2·22 = 44.
    row, column = divmod(int(placed.argmax()), size[0])
    assert abs(row + 0.5 - (44 + 2 * 10.5)) <= 1
    assert abs(column + 0.5 - (8 + 2 * 50.5)) <= 1


def test_what_was_cut_away_has_the_pictures_own_colours_and_the_rest_is_coloured() -> None:
    preprocessing, picture = Preprocessing(size=64, resize=64), smooth_picture(300, 200)
    drawn = np.array(overlay_on_source(picture, torch.rand(64, 64) + 1, preprocessing))
    changed = (drawn != np.array(picture)).any(-1)
    assert drawn.shape == (200, 300, 3)
    assert changed[:, 50:250].mean() > 0.99
    assert not changed[:, :50].any()
    assert not changed[:, 250:].any()


def test_a_lying_photograph_is_drawn_upright(tmp_path: object) -> None:
    preprocessing, upright_picture = Preprocessing(size=32, resize=32), smooth_picture(60, 40)
    lying = upright_picture.transpose(Image.Transpose.ROTATE_90)
    exif = lying.getexif()
    exif[0x0112] = 6
    file = f"{tmp_path}/lying.png"
    lying.save(file, exif=exif)
    heatmap = torch.rand(32, 32)
    with Image.open(file) as opened:
        drawn = overlay_on_source(opened, heatmap, preprocessing)
    assert drawn.tobytes() == overlay_on_source(upright_picture, heatmap, preprocessing).tobytes()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "I;16"])
def test_any_colour_mode_is_drawn(mode: str) -> None:
    picture = Image.new("I;16", (50, 40), 999) if mode == "I;16" else smooth_picture(50, 40).convert(mode)
    drawn = overlay_on_source(picture, torch.rand(16, 16), Preprocessing(size=16, resize=16))
    assert (drawn.mode, drawn.size) == ("RGB", (50, 40))


def test_a_map_without_evidence_is_said_so_on_the_picture() -> None:
    picture, preprocessing = smooth_picture(100, 80), Preprocessing(size=16, resize=16)
    drawn = overlay_on_source(picture, -torch.rand(16, 16), preprocessing)
    assert (np.array(drawn) != np.array(picture)).any(-1)[60:].any()
    assert not (np.array(drawn) != np.array(picture))[:40].any()


def test_a_picture_of_one_pixel_is_drawn() -> None:
    preprocessing = Preprocessing(size=16, resize=20)
    assert to_source(torch.ones(16, 16), preprocessing, (1, 1)).tolist() == [[1.0]]


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(16, 16\).*\(8, 8\)"):
        overlay_on_source(smooth_picture(50, 40), torch.rand(8, 8), Preprocessing(size=16, resize=16))
