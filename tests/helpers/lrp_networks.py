"""Networks for LRP."""

import torch
from torch import Tensor, nn


def images(batch: int = 2, size: int = 10) -> Tensor:
    return torch.randn(batch, 3, size, size, dtype=torch.float64)


def vgg_net(bias: bool = True) -> nn.Sequential:
    norm = nn.BatchNorm2d(6)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    if bias:
        norm.load_state_dict({"running_mean": torch.randn(6), "bias": torch.randn(6)}, strict=False)
    features = [nn.Conv2d(3, 6, 3, padding=1, bias=bias), norm, nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    features += [nn.Conv2d(6, 8, 3, bias=bias), nn.Identity(), nn.ReLU(inplace=True), nn.AvgPool2d(3), nn.Flatten()]
    head = [nn.Linear(8, 9, bias=bias), nn.Sequential(), nn.Tanh(), nn.Dropout(), nn.Linear(9, 5, bias=bias)]
    return nn.Sequential(*features, *head)
