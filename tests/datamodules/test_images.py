"""A folder of images for prediction: which files count, their keys, and what is told of a broken one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.images import ImageFolder
from datamodules.samples import SampleError
from tests.helpers import oriented_pictures as pictures
from vitrine.data.preprocessing import Preprocessing

TINY = Preprocessing(size=8, resize=8)


def write(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 12, 3), value, np.uint8)).save(path)


def test_images_below_a_folder_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.JPG", "0.jpeg", ".hidden.png"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "folder.png").mkdir()
    folder = ImageFolder(tmp_path, TINY)
    assert len(folder) == 3
    assert [folder[number]["key"] for number in range(3)] == ["0.jpeg", "a/1.JPG", "b/2.png"]


def test_an_image_is_preprocessed(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 255)
    image = ImageFolder(tmp_path, TINY)[0]["image"]
    expected = (1 - torch.tensor(TINY.mean)) / torch.tensor(TINY.std)
    torch.testing.assert_close(image, expected[:, None, None].expand(3, 8, 8))


def test_folders_without_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is no folder; give one with images"):
        ImageFolder(tmp_path / "nowhere", TINY)
    with pytest.raises(FileNotFoundError, match="holds no images"):
        ImageFolder(tmp_path, TINY)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(SampleError, match=r"a\.png is no readable image \(none of the formats that Pillow knows\)"):
        ImageFolder(tmp_path, TINY)[0]


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("white", "black")]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match=r"a\.tif has several frames or pages; the first is taken"):
        image = ImageFolder(tmp_path, TINY)[0]["image"]
    assert image.min() > 2


def test_the_error_of_a_worker_is_its_last_sentence() -> None:
    traceback = 'Traceback:\n  File "x", line 3\ndatamodules.samples.SampleError: a.png is broken; mend it.\n'
    assert str(SampleError(traceback)) == "a.png is broken; mend it."
    assert str(SampleError("a.png is broken.")) == "a.png is broken."


def test_images_stand_upright_in_the_range_of_their_type(tmp_path: Path) -> None:
    stored = pictures.stored_pixels()
    for kind, tag in (("JPEG", 6), ("PNG", 6), ("WEBP", 6), ("TIFF", 6)):
        suffix = {"JPEG": "jpg"}.get(kind, kind.lower())
        (tmp_path / f"{suffix}.{suffix}").write_bytes(pictures.encoded(stored, kind, tag))
    (tmp_path / "wide.png").write_bytes(pictures.encoded(pictures.upright_of(stored, 6).astype(np.uint16) * 257))
    folder = ImageFolder(tmp_path, Preprocessing(size=40, resize=None))
    images = [folder[number]["image"] for number in range(5)]
    for image in images[1:]:
        torch.testing.assert_close(image, images[0], atol=0.1, rtol=0)
    assert images[0][0, 30, 35] > images[0][0, 0, 0] + 1  # the white block has gone to the lower right


def test_an_image_of_an_unknown_range_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 300, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(SampleError, match=r"a\.tif has values from 300 to 300 as floats"):
        ImageFolder(tmp_path, TINY)[0]
