"""Near names: the closest of what there is, and a clause for an error."""

import pytest

from vitrine.core.near_names import did_you_mean, near_names

METHODS = ["GradCAM", "GradCAMPlusPlus", "LayerCAM", "Occlusion", "RISE"]


def test_the_closest_names_come_first() -> None:
    assert near_names("GradCam", METHODS)[:2] == ["GradCAM", "GradCAMPlusPlus"]
    assert near_names("Oclusion", METHODS)[0] == "Occlusion"


def test_where_none_is_close_the_first_are_given() -> None:
    assert near_names("zzz", METHODS, count=2) == ["GradCAM", "GradCAMPlusPlus"]
    assert near_names("zzz", []) == []


@pytest.mark.parametrize("count", [1, 3])
def test_no_more_than_count(count: int) -> None:
    assert len(near_names("CAM", METHODS, count)) <= count


def test_any_iterable_of_names() -> None:
    assert near_names("layer", (name for name in ("layers", "image_size")))[0] == "layers"
    assert did_you_mean("layer", {"layers": 1, "image_size": 2}) == "; did you mean layers?"


def test_the_clause_names_up_to_three() -> None:
    assert did_you_mean("alpha", ["alphas", "alpha_1", "alpha_2", "alpha_3"]).count(" or ") == 2
    assert did_you_mean("Occlusio", METHODS) == "; did you mean Occlusion?"
    assert did_you_mean("zzz", METHODS) == ""
