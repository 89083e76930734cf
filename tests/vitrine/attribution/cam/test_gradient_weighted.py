"""The graph cut at a layer: a leaf that nothing changes, gradients at its places, and layers where it cannot be cut."""

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.cam.gradient_weighted import GradientWeighted, cut_at, spatial_gradients
from vitrine.backbones.map_layouts import channels_first


class Product(GradientWeighted):
    """Σ_c g ∘ A."""

    @override
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return (activations * gradients).sum(dim=1)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5),
    )  # fmt: skip


IMAGES = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def test_a_linear_end_has_its_weights_as_gradients() -> None:
    network = model()
    maps = Product(network, "3", relu=False).attribute(IMAGES, 2)
    activations = network[:4](IMAGES)
    weights = network.get_parameter("6.weight")[2] / 36
    expected = torch.einsum("bchw,c->bhw", activations, weights).detach()
    torch.testing.assert_close(maps[:, 0], expected)


def test_the_leaf_keeps_its_values_though_a_rectifier_works_in_place() -> None:
    network = model()
    with torch.enable_grad(), cut_at(network, "0") as leaves:
        logits = network(IMAGES.clone())
    torch.testing.assert_close(leaves[0].detach(), network[0](IMAGES).detach())
    assert leaves[0].is_leaf
    (gradient,) = torch.autograd.grad(logits.sum(), leaves)
    assert (gradient[leaves[0] < 0] == 0).all()
    assert gradient.any()
    assert not network[0]._forward_hooks


@pytest.mark.parametrize(("layer", "message"), [("aside", "gave no output"), ("pair", "gives a tuple, not a tensor")])
def test_where_it_cannot_be_cut(layer: str, message: str) -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.aside, self.pair = nn.Identity(), Pair()

        def forward(self, x: Tensor) -> Tensor:
            return self.pair(x)[0].mean(dim=(2, 3))

    network = Odd()
    with pytest.raises(ValueError, match=f"Layer '{layer}' {message}"), cut_at(network, layer):
        network(IMAGES)
    assert not network.get_submodule(layer)._forward_hooks


def test_a_layer_of_whole_numbers_is_refused() -> None:
    network = nn.Sequential(nn.Identity(), nn.Flatten())
    with pytest.raises(ValueError, match=r"Layer '0' gives torch.int64.*Occlusion"), cut_at(network, "0"):
        network(torch.ones(1, 3, 2, 2, dtype=torch.int64))


def test_gradients_that_lie_on_the_class_token_alone_are_refused() -> None:
    gradients = torch.ones(1, 2, 3, 3)
    torch.testing.assert_close(spatial_gradients(gradients, channels_first, "a"), gradients)
    assert not spatial_gradients(torch.zeros(1, 2, 3, 3), channels_first, "a").any()
    with pytest.raises(ValueError, match="Behind layer 'a' the class depends on the class token alone"):
        spatial_gradients(gradients, lambda tokens: 0 * tokens, "a")
