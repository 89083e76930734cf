from dataclasses import replace

import pytest
import torch

from tests.vitrine.explain.test_predictions import predicted
from vitrine.data.preprocessing import Preprocessing
from vitrine.explain.entries import gallery_entry
from vitrine.explain.predictions import Predicted

__all__ = ["predicted"]


def test_an_entry_says_which_part_of_its_picture_the_network_saw(predicted: Predicted) -> None:
    entry = gallery_entry(predicted, Preprocessing(8, 8))
    assert entry.region == pytest.approx((5 / 30, 0, 25 / 30, 1))
    assert entry.labels == (1,)
    assert [name for name, _ in entry.groups] == ["Grad CAM"]
    ((_, shown),) = gallery_entry(labelled(predicted, "EBP"), Preprocessing(8, 8)).groups
    assert shown.labels == [["EBP of cow"]]
    assert torch.allclose(entry.image[:, 0, 0], torch.tensor([0.485, 0.456, 0.406]))


def labelled(predicted: Predicted, name: str) -> Predicted:
    """By a method of a short name, whose labels have the full one."""
    explanation = replace(predicted.any, labels=[["ExcitationBackprop of cow"]])
    return Predicted(predicted.picture, predicted.label, {name: explanation})
