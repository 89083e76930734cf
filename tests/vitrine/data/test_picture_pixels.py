from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitrine.core.picture_files import PictureSizeError
from vitrine.data.picture_pixels import picture_pixels


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_pixels_are_those_of_pillow(suffix: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as image:
        wanted = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert torch.equal(picture_pixels(tmp_path / f"a.{suffix}"), wanted)
    assert picture_pixels(tmp_path / f"a.{suffix}", "L").shape == (1, 12, 10)


def test_turned_pictures_come_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (10, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert picture_pixels(tmp_path / "a.jpg").shape == (3, 10, 4)


def test_the_first_of_several_frames_is_taken_with_a_warning(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="has several frames"):
        pixels = picture_pixels(tmp_path / "a.gif")
    assert pixels[0].min() > 200


def test_what_cannot_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_text("x")
    for path in (tmp_path / "a.png", tmp_path / "none.png"):
        with pytest.raises(ValueError, match=rf"{path.name} is no readable image \(.*\); mend or remove it"):
            picture_pixels(path)
    Image.new("RGB", (10, 10)).save(tmp_path / "b.png")
    monkeypatch.setenv("VITRINE_MAX_PIXELS", "50")
    with pytest.raises(PictureSizeError, match="more than 50"):
        picture_pixels(tmp_path / "b.png")
