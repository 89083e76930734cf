"""Whether saved heads, options and data go together."""

from typing import Any

import pytest
import torch

from lightning_modules.heads import first_difference, meaning_of


def test_options_without_which_heads_are_about_something_else() -> None:
    options = {"explainer": "SRAEExplainer", "layer": "features", "pooling": "average", "beta": 3.0}
    assert meaning_of(options) == {"explainer": "SRAEExplainer", "layer": "features", "pooling": "average"}
    assert meaning_of({}) == {}


@pytest.mark.parametrize(
    ("own", "saved", "told"),
    [
        ({"a": torch.ones(1)}, {}, "'a' stands in the module alone"),
        ({}, {"b": torch.ones(1)}, "'b' stands in the checkpoint alone"),
        ({"a": torch.ones(1, 2)}, {"a": torch.ones(3)}, r"'a' is of shape (3,) in the checkpoint, of (1, 2) here"),
        ({"a": torch.ones(1), "b": 3}, {"a": torch.zeros(1), "b": 4}, "they cannot be read"),
    ],
)
def test_the_first_difference_of_two_state_dicts(own: dict[str, Any], saved: dict[str, Any], told: str) -> None:
    assert first_difference(own, saved) == told
