"""Entries of the gallery: one explanation, or those of several methods."""

from dataclasses import replace

import pytest

from tests.helpers.gallery_entries import entry, explanation
from vitrine.core.explanation import Explanation


def test_a_single_explanation_is_a_group_without_a_name() -> None:
    one = entry("k")
    assert one.groups == [("", one.explanation)]
    two = [("a", explanation()), ("b", explanation(seed=1))]
    assert replace(one, explanation=two).groups == two


def test_what_is_no_explanation_of_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="entry 'k' must hold the explanation of one image, got 2"):
        replace(entry("k"), explanation=Explanation.cat([explanation()] * 2))
    with pytest.raises(ValueError, match="entry 'k' has no explanation"):
        replace(entry("k"), explanation=[])
    with pytest.raises(ValueError, match="entry 'k' has explanations of different predictions"):
        replace(entry("k"), explanation=[("a", explanation(0)), ("b", explanation(1))])
