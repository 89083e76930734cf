"""Sizes of images that networks take: what they say of themselves, tried, or else usual ones."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.token_networks import timm_vit, torchvision_vit
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.image_sizes import blank_image, refusal_of_size, working_size


class Fixed(nn.Module):
    """Takes grey images of one size, and says another of itself."""

    def __init__(self, side: int, said: object = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1)
        self.classifier = nn.Linear(2 * side * side, 3)
        self.config = SimpleNamespace(image_size=said)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.classifier(self.first(images).flatten(1))
        return logits


@pytest.mark.parametrize(
    ("model", "side"),
    [
        (torchvision_vit(), 32),
        (timm_vit(), 32),
        (Fixed(7), 7),
        (Fixed(36, said=36), 36),
        (Fixed(36, said=(1, 36, 36)), 36),
        (Fixed(28, said=64), 28),
        (Fixed(28, said=(20, 28)), 28),
        (Fixed(37), None),
    ],
)
def test_a_size_that_works(model: nn.Module, side: int | None) -> None:
    assert working_size(FrozenBackbone(model)) == side


def test_a_size_that_does_not_work_says_why() -> None:
    backbone = FrozenBackbone(torchvision_vit())
    assert refusal_of_size(backbone, 32) is None
    assert "Wrong image height" in str(refusal_of_size(backbone, 64))


def test_a_blank_image_is_as_the_network_takes_it() -> None:
    blank = blank_image(Fixed(4).half(), 4)
    assert (blank.shape, blank.dtype) == ((1, 1, 4, 4), torch.float16)
