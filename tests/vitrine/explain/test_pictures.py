from pathlib import Path

import pytest
import torch
from PIL import Image

from vitrine.data.preprocessing import Preprocessing
from vitrine.explain.pictures import Pictures, stacked

SMALL = Preprocessing(16, 16)


def test_pictures_come_in_order_with_their_folders_and_what_cannot_be_read_is_told(pictures: Pictures) -> None:
    batches = list(pictures.batches(SMALL, 2))
    read = [picture for batch, _ in batches for picture in batch]
    assert sum(count for _, count in batches) == len(pictures) == 7
    assert [picture.key for picture in read[:3]] == ["Red/deep/0.png", "Red/deep/1.png", "Red/deep/2.png"]
    assert {picture.folder for picture in read} == {"Red", "others"} == set(pictures.folders())
    assert len(pictures.unreadable) == 1
    assert "broken.jpg is no readable image" in pictures.unreadable[0]
    list(pictures.batches(SMALL, 3))
    assert len(pictures.unreadable) == 1  # of this pass


def test_inputs_are_what_the_preprocessing_makes_of_the_picture(pictures: Pictures) -> None:
    batch, _ = next(pictures.batches(SMALL, 2))
    with Image.open(batch[0].path) as image:
        assert torch.equal(batch[0].inputs, SMALL(image))
        assert batch[0].image().size == image.size == (100, 84)
    assert stacked(batch, torch.device("cpu")).shape == (2, 3, 16, 16)


def test_a_single_picture_stands_in_no_folder(picture_folder: Path) -> None:
    single = Pictures(picture_folder / "others" / "0.png")
    assert [single.key(path) for path in single.paths] == ["0.png"]
    assert single.folders() == []


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Pictures(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="holds no pictures"):
        Pictures(tmp_path)


def test_pictures_of_which_none_can_be_read_are_refused_with_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    pictures = Pictures(tmp_path)
    assert [batch for batch, _ in pictures.batches(SMALL, 2)] == [[]]
    with pytest.raises(ValueError, match=r"None of the 1 pictures.*a\.png"):
        pictures.check_any_read()
