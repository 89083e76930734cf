"""SqueezeNet without its last ReLU: torchvision's weights and logits before that ReLU."""

import torch
from torchvision.models import squeezenet1_0

from experiments.boxes.networks import SignedSqueezeNet


def test_logits_are_those_before_the_last_relu() -> None:
    torch.manual_seed(0)
    official, signed = squeezenet1_0(num_classes=4).eval(), SignedSqueezeNet(4).eval()
    signed.load_state_dict(official.state_dict())
    images = torch.rand(2, 3, 64, 64)
    cells = official.classifier[1](official.features(images))
    assert (cells < 0).any()
    torch.testing.assert_close(signed(images), cells.mean(dim=(2, 3)))
    torch.testing.assert_close(official(images), cells.clamp(min=0).mean(dim=(2, 3)))
