"""Pictures of every kind as an explainer's input: the same maps as of tensors prepared by hand, and errors of each kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vitrine
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import Explainer

PREPARED = Preprocessing(size=16, resize=18)


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    model = nn.Sequential(*layers)
    return vitrine.explainer(model, "Saliency", classes=["ant", "Bee", "wasp"], preprocessing=PREPARED, device="cpu")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (24, 36, 3), dtype=np.uint8)
    return Image.fromarray(values)


def kinds(picture: Image.Image, folder: Path) -> dict[str, Any]:
    file = folder / "wasp.png"
    picture.save(file)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(folder / "lying.png", exif=exif)
    alpha = picture.convert("RGBA")
    return {
        "path": file,
        "text": str(file),
        "PIL": picture,
        "array": np.array(picture),
        "RGBA": alpha,
        "RGBA array": np.array(alpha),
        "lying": folder / "lying.png",
    }


def test_every_kind_of_picture_gives_the_map_of_its_prepared_tensor(
    explainer: Explainer, picture: Image.Image, tmp_path: Path
) -> None:
    expected = explainer.explain(PREPARED(picture)[None], 1).heatmaps
    given = kinds(picture, tmp_path)
    for kind, one in given.items():
        assert torch.equal(explainer.explain(one, 1).heatmaps, expected), kind
    together = explainer.explain(list(given.values()), 1)
    torch.testing.assert_close(together.heatmaps, expected.expand(len(given), -1, -1, -1))
    assert together.pictures is not None
    assert list(together.pictures.names)[:2] == ["wasp.png", "wasp.png"]
    assert {image.size for image in together.pictures.images} == {(36, 24)}
    assert len(explainer.explain(np.stack([np.array(picture)] * 2))) == 2


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "1"])
def test_modes_are_prepared_as_by_the_preprocessing(explainer: Explainer, picture: Image.Image, mode: str) -> None:
    one = Image.new("I;16", (30, 20), 4000) if mode == "I;16" else picture.convert(mode)
    torch.testing.assert_close(explainer.explain(one, 0).logits, explainer.explain(PREPARED(one)[None], 0).logits)


def test_a_class_is_named(explainer: Explainer, picture: Image.Image) -> None:
    assert explainer.explain(picture, "bee").target.tolist() == [1]
    assert explainer.explain([picture, picture], ["wasp", "ant"]).target.tolist() == [2, 0]
    with pytest.raises(ValueError, match="'wsap' is none of the 3 classes; near names: wasp"):
        explainer.explain(picture, "wsap")


WRONG = [
    ("no.png", FileNotFoundError, "no.png does not exist"),
    (np.zeros((8, 8, 3)), ValueError, r"float64 and shape \(8, 8, 3\).*uint8"),
    (np.zeros((8, 8, 7), np.uint8), ValueError, r"\(8, 8, 7\)"),
    ([b"bytes"], ValueError, "Picture 1 is a bytes"),
    ([], ValueError, "no pictures"),
    ([torch.zeros(3, 8, 8)], ValueError, r"images must be a tensor \(B, C, H, W\)"),
]


@pytest.mark.parametrize(("given", "kind", "match"), WRONG, ids=lambda value: str(value)[:20])
def test_what_is_no_picture_is_said_so(explainer: Explainer, given: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        explainer.explain(given)


def test_files_that_are_no_pictures_and_folders(explainer: Explainer, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.jpg is no readable image"):
        explainer.explain(tmp_path / "text.jpg")
    with pytest.raises(ValueError, match="is a folder"):
        explainer.explain(tmp_path)


def test_without_preprocessing_the_remedy_is_named(explainer: Explainer, picture: Image.Image) -> None:
    bare = type(explainer)(explainer.backbone, explainer.options)
    with pytest.raises(ValueError, match=r"give it preprocessing=Preprocessing"):
        bare.explain(picture)
    with pytest.raises(ValueError, match="knows no names of classes"):
        bare.explain(torch.rand(1, 3, 16, 16), "ant")
