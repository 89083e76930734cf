"""A network, and batch norms, for tests of excitation backprop."""

from typing import Any

import torch
from torch import nn


def small_net() -> nn.Sequential:
    """With batch norms and weights of both signs; layers 0 to 6 are spatial."""
    norms = [nn.BatchNorm2d(6), nn.BatchNorm2d(8)]
    for norm in norms:
        nn.init.normal_(norm.weight)
        random = {"running_var": torch.rand(norm.num_features) + 0.5, "bias": torch.rand(norm.num_features)}
        norm.load_state_dict(random, strict=False)
    features = [nn.Conv2d(3, 6, 3, padding=1), norms[0], nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    features += [nn.Conv2d(6, 8, 3), norms[1], nn.ReLU(inplace=True), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(32, 7), nn.ReLU(inplace=True), nn.Linear(7, 4))


def random_batch_norm(kind: type[nn.BatchNorm1d | nn.BatchNorm2d], channels: int, *, affine: bool = True) -> Any:
    """In eval mode, with scales of both signs where it has any."""
    norm = kind(channels, affine=affine).eval()
    signs = torch.tensor([-1.0, 1.0]).repeat(channels)[:channels]
    state = {"running_mean": torch.randn(channels), "running_var": torch.rand(channels) + 0.2}
    if affine:
        state |= {"weight": signs * (torch.rand(channels) + 0.3), "bias": torch.randn(channels)}
    norm.load_state_dict(state, strict=False)
    return norm.requires_grad_(requires_grad=False)
