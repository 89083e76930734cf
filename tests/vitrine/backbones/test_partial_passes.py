"""Passes that end at a layer give what whole passes give, and run nothing that comes after it."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from vitrine.backbones.partial_passes import outputs_of
from vitrine.backbones.taps import captured

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    relu = nn.ReLU(inplace=True)
    layers = [nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 6, 3), relu, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6, 5)).eval()


@pytest.fixture
def last_runs() -> Iterator[list[int]]:
    runs: list[int] = []
    handle = nn.modules.module.register_module_forward_pre_hook(
        lambda module, _: runs.append(1) if isinstance(module, nn.Linear) else None
    )
    yield runs
    handle.remove()


@pytest.mark.parametrize("layers", [["0"], ["1"], ["2", "0"], ["6", "2"]])
def test_equals_a_whole_pass_and_ends_with_the_last_call_of_all(layers: list[str], last_runs: list[int]) -> None:
    model = net()
    with captured(model, layers) as expected:
        model(IMAGES.clone())
    last_runs.clear()
    for number in range(3):
        found = outputs_of(model, IMAGES.clone(), layers)
        assert list(found) == list(expected)
        for layer in layers:
            torch.testing.assert_close(found[layer], expected[layer], rtol=0, atol=0)
        assert len(last_runs) == (1 + number if "6" in layers else 1)  # the first pass alone is a whole one
    assert not any(module._forward_hooks for module in model.modules())


def test_another_size_and_another_layer_are_looked_at_anew(last_runs: list[int]) -> None:
    model = net()
    for _ in range(2):
        outputs_of(model, IMAGES, ["0"])
        outputs_of(model, IMAGES[..., :7], ["0"])
    assert len(last_runs) == 2
    model[2] = nn.Conv2d(4, 6, 1)
    outputs_of(model, IMAGES, ["0"])
    assert len(last_runs) == 3


def test_a_pass_goes_on_where_it_may_not_end(last_runs: list[int]) -> None:
    model = net()
    for _ in range(3):
        outputs_of(model, IMAGES, ["0"], may_end=lambda: False)
    assert len(last_runs) == 3


def test_a_network_of_other_code_may_call_a_layer_as_often_as_it_likes() -> None:
    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(1 if x.mean() < 0.5 else 2):
                x = self.layer(x)
            return x

    model = Repeated().eval()
    for images in (torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)):
        torch.testing.assert_close(outputs_of(model, images, ["layer"])["layer"], model(images))


def test_an_error_of_the_network_is_its_own() -> None:
    model = net()
    outputs_of(model, IMAGES, ["2"])
    with pytest.raises(RuntimeError, match="expected input"):
        outputs_of(model, IMAGES[:, :2], ["2"])
    with pytest.raises(ValueError, match="no layer 'head'"):
        outputs_of(model, IMAGES, ["head"])
    assert not any(module._forward_hooks for module in model.modules())


def test_gradients_of_a_residual_network(last_runs: list[int]) -> None:
    model, images = resnet18().eval(), torch.randn(1, 3, 64, 64)
    gradients = []
    for _ in range(2):
        pixels = images.clone().requires_grad_()
        output = outputs_of(model, pixels, ["layer2"])["layer2"]
        gradients.append(torch.autograd.grad(output[:, 3].sum(), pixels)[0])
    assert len(last_runs) == 1
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
