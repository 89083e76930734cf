"""Pictures that an explanation carries: sliced, joined, pickled and moved with it."""

import pickle

import pytest
import torch
from PIL import Image

from vitrine.core.explained_pictures import ExplainedPictures
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing


def explanation(count: int, pictures: ExplainedPictures | None) -> Explanation:
    classes = torch.arange(count)
    labels = [["map"]] * count
    return Explanation(
        torch.rand(count, 1, 8, 8),
        torch.ones(count, 1),
        labels,
        classes,
        classes,
        torch.rand(count, 4),
        pictures=pictures,
    )


def pictures(*names: str, size: int = 8) -> ExplainedPictures:
    images = [Image.new("RGB", (len(name) + 1, 5)) for name in names]
    return ExplainedPictures(images, names, Preprocessing(size, size), ("ant", "bee"))


def test_slices_pickles_and_devices_keep_them() -> None:
    whole = explanation(3, pictures("a", "bb", "ccc"))
    for one in (whole[1:], pickle.loads(pickle.dumps(whole))[1:], whole.to("cpu")[1:], whole.cpu()[1:]):
        assert one.pictures is not None
        assert list(one.pictures.names) == ["bb", "ccc"]
        assert [image.width for image in one.pictures.images] == [3, 4]
        assert one.pictures.classes == ("ant", "bee")


def test_joined_explanations_have_the_pictures_of_all() -> None:
    joined = Explanation.cat([explanation(1, pictures("a")), explanation(2, pictures("bb", "ccc"))])
    assert joined.pictures is not None
    assert list(joined.pictures.names) == ["a", "bb", "ccc"]


@pytest.mark.parametrize("second", [None, pictures("b", size=16)])
def test_joined_with_others_they_are_left_out(second: ExplainedPictures | None) -> None:
    assert Explanation.cat([explanation(1, pictures("a")), explanation(1, second)]).pictures is None


def test_as_many_names_as_pictures() -> None:
    with pytest.raises(ValueError, match="1 pictures and 2 names"):
        ExplainedPictures([Image.new("RGB", (2, 2))], ["a", "b"])


def test_an_explanation_is_told_in_a_line() -> None:
    assert repr(explanation(2, None)) == (
        "Explanation(2 images, 1 heatmap each of 8 x 8, predicted [0, 1], explained [0, 1])"
    )
    assert len(repr(explanation(100, None))) < 200
    assert explanation(1, None)._repr_html_() is None
