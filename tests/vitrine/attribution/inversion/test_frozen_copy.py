"""What a frozen copy replaces, and that it gives the same."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.inversion.folded import FoldedCopy
from vitrine.attribution.inversion.frozen_conv import FrozenConv
from vitrine.backbones.guard import eval_guard

IMAGES = torch.zeros(1, 3, 32, 32)


def frozen_convolutions(model: nn.Module) -> int:
    return sum(isinstance(module, FrozenConv) for module in model.modules())


class Net(nn.Module):
    """Two convolutions and what may stand around them."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act, self.act2, self.head = nn.ReLU(inplace=way == "in place"), nn.ReLU6(), nn.Linear(4, 5)

    @override
    def forward(self, images: Tensor) -> Tensor:
        found = self.first(2 * images if self.way == "scaled" else images)
        activated = self.act(found)
        if self.way == "used before":
            activated = activated + found
        if self.way == "shared activation":
            activated = self.act(activated - 0.5)
        if self.way == "images twice":
            activated = activated + images.mean()
        second = self.act2(self.second(activated))
        if self.way == "changed in place":
            second += 1
        if self.way == "reads its convolution":
            second = second * self.second.out_channels
        pooled: Tensor = self.head(second.mean(dim=(2, 3)))
        return pooled


@pytest.mark.parametrize(
    ("way", "fused", "stem"),
    [
        ("plain", ["first", "second"], True),
        ("in place", ["first", "second"], True),
        ("scaled", ["first", "second"], False),
        ("images twice", ["first", "second"], False),
        ("used before", ["second"], True),
        ("shared activation", ["second"], True),
        ("changed in place", None, False),
        ("reads its convolution", None, False),
    ],
)
def test_what_is_fused(way: str, fused: list[str] | None, stem: bool) -> None:
    model = Net(way).eval().requires_grad_(requires_grad=False)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with eval_guard(model):
        copy = FoldedCopy(model, []).frozen(images)
    modules = {n: m for n, m in copy.model.named_modules() if isinstance(m, FrozenConv)}
    names = [name.removesuffix(".conv") for name, conv in modules.items() if conv.shape.bounds is not None]
    assert (names if modules else None) == fused
    assert (copy.stem is not None) == stem
    found, wanted = images.clone().requires_grad_(), images.clone().requires_grad_()
    outputs, expected = copy.model(found), model(wanted)
    torch.testing.assert_close(outputs, expected)
    outputs.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(found.grad, wanted.grad)


def test_an_output_that_is_kept_before_its_activation_stays() -> None:
    model = Net("plain").eval()
    with eval_guard(model):
        copy = FoldedCopy(model, ["second"]).frozen(IMAGES).model
    seen: list[Tensor] = []
    copy.get_submodule("second").register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
    copy(torch.randn(1, 3, 32, 32))
    assert bool((seen[0] < 0).any())


@pytest.mark.parametrize("make", [torchvision.models.mobilenet_v2, torchvision.models.squeezenet1_0])
def test_known_networks(make: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model = make(num_classes=5).eval().requires_grad_(requires_grad=False)
    images = torch.randn(2, 3, 32, 32)
    with eval_guard(model):
        copy = FoldedCopy(model, ["features"]).frozen(images)
    assert copy.stem is not None
    assert frozen_convolutions(copy.model) == sum(isinstance(m, nn.Conv2d) for m in model.modules())
    torch.testing.assert_close(copy.model(images), model(images), rtol=1e-4, atol=1e-5)


def test_a_change_of_the_weights_is_seen_and_hooks_leave_the_model_as_it_is() -> None:
    model = Net("plain").eval()
    copies = FoldedCopy(model, [])
    with eval_guard(model):
        before = copies.frozen(IMAGES).model
        assert copies.frozen(IMAGES).model is before
        with torch.no_grad():
            model.first.weight.mul_(2)
        changed = copies.frozen(IMAGES).model
        torch.testing.assert_close(changed(IMAGES + 1), model(IMAGES + 1))
        handle = model.first.register_forward_hook(lambda *_: None)
        assert copies.frozen(IMAGES).model is model
        handle.remove()
