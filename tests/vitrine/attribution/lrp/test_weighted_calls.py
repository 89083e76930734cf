"""Convolutions and linear layers under LRP rules: batch norms and constant factors are folded into them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from vitrine.attribution import LRP

RULES = ["epsilon_gamma_box", "epsilon_plus", "alpha2_beta1"]


class Scaled(nn.Module):
    """Values times a constant of each channel, plus another, in one of several spellings."""

    def __init__(self, spelling: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.spelling = spelling

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = x.new_tensor([[0.5, -2.0, 1.5, -0.3], [0.1, -0.2, 0.3, 0.4]])
        return self.spelling(x, scale.view(-1, 1, 1), shift.view(-1, 1, 1))


def batch_norm() -> nn.Module:
    norm = nn.BatchNorm2d(4, eps=0.01)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.running_mean, norm.running_var = torch.randn(4), torch.rand(4) + 0.5
    return norm


def frozen_batch_norm() -> nn.Module:
    norm = FrozenBatchNorm2d(4)
    norm.load_state_dict(
        {"weight": torch.randn(4), "bias": torch.randn(4), "running_mean": torch.randn(4), "running_var": torch.rand(4)}
    )
    return norm


@pytest.mark.parametrize(
    "after",
    [
        batch_norm,
        frozen_batch_norm,
        lambda: Scaled(lambda x, scale, shift: x * scale + shift),
        lambda: Scaled(lambda x, scale, shift: shift + scale * x),
        lambda: Scaled(lambda x, scale, shift: x / scale.reciprocal() - -shift),
        lambda: nn.Sequential(Scaled(lambda x, scale, _: x * scale), batch_norm()),
        lambda: Scaled(lambda x, _, __: x * 2.0 + 1.0),
    ],
)
@pytest.mark.parametrize("composite", RULES)
def test_what_scales_and_shifts_is_one_operator_with_the_convolution(
    after: Callable[[], nn.Module], composite: str
) -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3, padding=1)
    head = nn.Sequential(
        nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
    )
    following = after()
    network = nn.Sequential(first, following, head).double().eval()
    with torch.no_grad():  # the same operator as one convolution, by its response to a unit image of each kind
        scale_and_shift = following(torch.stack([torch.zeros(4, 1, 1), torch.ones(4, 1, 1)]).double())[..., 0, 0]
    folded = nn.Conv2d(3, 4, 3, padding=1).double()
    shift, scale = scale_and_shift[0], scale_and_shift[1] - scale_and_shift[0]
    folded.load_state_dict({"weight": first.weight * scale.view(-1, 1, 1, 1), "bias": first.bias * scale + shift})
    images = torch.randn(2, 3, 8, 8).double()
    expected = LRP(nn.Sequential(folded, head).eval(), composite=composite).attribute(images, target=1)  # type: ignore[arg-type]
    torch.testing.assert_close(LRP(network, composite=composite).attribute(images, target=1), expected)  # type: ignore[arg-type]
    assert expected.abs().max() > 1e-6


@pytest.mark.parametrize("composite", RULES)
def test_a_linear_layer_is_a_convolution_of_one_pixel(composite: str) -> None:
    torch.manual_seed(0)
    convolutions = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Flatten()).double().eval()
    images = torch.randn(2, 3, 1, 1).double()
    as_1d = nn.Sequential(
        nn.Flatten(2), nn.Conv1d(3, 4, 1), nn.ReLU(), nn.Conv1d(4, 2, 1), nn.Flatten()
    ).double().eval()  # fmt: skip
    for own, other in zip(as_1d.parameters(), convolutions.parameters(), strict=True):
        own.data = other.data.reshape(own.shape)
    found = [LRP(network, composite=composite).attribute(images, target=0) for network in (convolutions, as_1d)]  # type: ignore[arg-type]
    torch.testing.assert_close(*found)


def test_relevance_at_a_convolution_that_is_folded_is_refused_with_the_cause() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    images = torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"layer '0'.*folded"):
        LRP(network, composite="epsilon_plus").relevance_at("0", images, 1)
    assert LRP(network, composite="epsilon_plus").relevance_at("1", images, 1).shape == (1, 4, 6, 6)
    assert LRP(network, composite="epsilon").relevance_at("0", images, 1).shape == (1, 4, 6, 6)


def test_a_batch_norm_of_its_batch_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
    with pytest.raises(ValueError, match="running statistics"):
        LRP(network).attribute(torch.rand(1, 3, 8, 8), target=1)
