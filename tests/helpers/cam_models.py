"""Networks and comparisons for tests of class activation maps."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model

LAYERS = {"vgg11_bn": "features", "resnet18": "layer4", "squeezenet1_0": "features"}


def network(name: str, classes: int = 10) -> nn.Module:
    """Random weights, in float64, with batch norms that are not the identity."""
    arguments = {"init_weights": False} if name in {"googlenet", "vgg11_bn"} else {}
    model: nn.Module = get_model(name, weights=None, num_classes=classes, **arguments)
    if name == "vgg11_bn":
        model.set_submodule("classifier", nn.Linear(512 * 49, classes))  # the published one is slow
    model.double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model


def small() -> nn.Sequential:
    """Convolutions with in-place rectifiers, global average pooling and a linear layer; in training mode."""
    features = [
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Conv2d(6, 8, 3, stride=2),
    ]
    head = [nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    return nn.Sequential(*features, *head).double()


def images(batch: int = 2, height: int = 12, width: int = 9) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def bilinear(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=False)


def targets_of(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        target: Tensor = model(x).argmax(dim=1)
    return target


def close(actual: Tensor, expected: Tensor, to: float = 1e-9) -> None:
    """Equal to a part of the largest value, which is not 0."""
    assert expected.abs().max() > 0
    torch.testing.assert_close(actual, expected.detach(), atol=to * float(expected.detach().abs().max()), rtol=0)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Fails where what is done within leaves a trace on the model or on the random state."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    training = [module.training for module in model.modules()]
    gradients = [(p.requires_grad, p.grad) for p in model.parameters()]
    random = torch.get_rng_state()
    try:
        yield
    finally:
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert [module.training for module in model.modules()] == training
        assert all((p.requires_grad, p.grad) == old for p, old in zip(model.parameters(), gradients, strict=True))
        assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
        assert torch.equal(torch.get_rng_state(), random)


class Counting(nn.Module):
    """Notes how many inputs go through at once."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.seen = small(), list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        output: Tensor = self.network(x)
        return output
