"""Constant factors in every spelling against the batch norm that they are, and nodes that pass mass on as it is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from tests.helpers.excitation_models import random_batch_norm
from tests.helpers.naive_excitation import Function, all_maps
from vitrine.attribution import ExcitationBackprop, excitation_maps

CHANNELS = 4


pytestmark = pytest.mark.usefixtures("doubles")


class Norm:
    """A batch norm with factors of both signs and 0, and its factor and shift."""

    def __init__(self) -> None:
        self.layer = random_batch_norm(nn.BatchNorm2d, CHANNELS)
        self.layer.weight.data[1] = 0
        self.deviation = column((self.layer.running_var + self.layer.eps).sqrt())
        self.weight = column(self.layer.weight)
        self.factor = self.weight / self.deviation
        self.shift = column(self.layer.bias) - column(self.layer.running_mean) * self.factor

    def frozen(self) -> nn.Module:
        frozen = FrozenBatchNorm2d(CHANNELS, eps=self.layer.eps).double()
        frozen.load_state_dict({k: v for k, v in self.layer.state_dict().items() if "num_batches" not in k})
        return frozen

    def statistics(self) -> Any:
        layer = self.layer
        return [layer.running_mean, layer.running_var, layer.weight, layer.bias]

    def arguments(self) -> Any:
        """Those of ``torch.batch_norm``, which orders them otherwise."""
        mean, variance, weight, bias = self.statistics()
        return [weight, bias, mean, variance, False, 0.1, self.layer.eps, False]


def column(vector: Tensor) -> Tensor:
    return vector.view(1, -1, 1, 1)


def in_place(x: Tensor, n: Norm) -> Tensor:
    x *= n.factor
    x += n.shift
    return x


def to_out(x: Tensor, n: Norm) -> Tensor:
    out = torch.empty_like(x)
    torch.mul(x, n.factor, out=out)
    return out + n.shift


def to_out_itself(x: Tensor, n: Norm) -> Tensor:
    torch.mul(x, n.factor, out=x)
    return x.add_(n.shift)


def hooked(module: nn.Module) -> nn.Module:
    module.register_full_backward_hook(lambda *_: None)
    return module


Spelling = Callable[[Tensor, Norm], Tensor]

SPELLINGS: dict[str, Spelling] = {
    "FrozenBatchNorm2d": lambda x, n: n.frozen()(x),
    "x * s + t": lambda x, n: x * n.factor + n.shift,
    "s * x": lambda x, n: n.factor * x + n.shift,
    "(x - mean) / std * weight + bias": lambda x, n: (
        (x - column(n.layer.running_mean)) / n.deviation * n.weight + column(n.layer.bias)
    ),
    "by hand in place": lambda x, n: (
        x.sub_(column(n.layer.running_mean)).div_(n.deviation).mul_(n.weight).add_(column(n.layer.bias))
    ),
    "(C, 1, 1)": lambda x, n: x * n.factor[0] + n.shift[0],
    "(B, C, H, W)": lambda x, n: x * n.factor.expand_as(x) + n.shift,
    "channels last": lambda x, n: (x.movedim(1, 3) * n.factor.flatten() + n.shift.flatten()).movedim(3, 1),
    "flattened": lambda x, n: (x.flatten(1) * n.factor.expand(1, -1, *x.shape[2:]).flatten()).view_as(x) + n.shift,
    "*= and +=": in_place,
    "out=": to_out,
    "out= itself": to_out_itself,
    "torch.multiply, torch.subtract": lambda x, n: torch.subtract(torch.multiply(x, n.factor), -n.shift),
    "negated": lambda x, n: (-x) * -n.factor + n.shift,
    "two factors": lambda x, n: x * n.factor.abs() * n.factor.sign() + n.shift,
    "addcmul": lambda x, n: torch.addcmul(n.shift, x, n.factor),
    "addcmul with a value": lambda x, n: torch.addcmul(n.shift, n.factor / 2, x, value=2),
    "addcdiv": lambda x, n: torch.addcdiv(n.shift, x * n.weight, n.deviation),
    "lerp": lambda x, n: torch.lerp((n.shift / (1 - n.factor)).expand_as(x), x, n.factor.expand_as(x)),
    "depthwise": lambda x, n: F.conv2d(x, n.factor.view(-1, 1, 1, 1), n.shift.flatten(), groups=CHANNELS),
    "depthwise of a view": lambda x, n: F.conv1d(
        x.flatten(2), n.factor.view(-1, 1, 1), n.shift.flatten(), groups=CHANNELS
    ).view_as(x),
    "F.batch_norm of a view": lambda x, n: F.batch_norm(x.flatten(2), *n.statistics()).view_as(x),
    "torch.batch_norm": lambda x, n: torch.batch_norm(x, *n.arguments()),
    "aten": lambda x, n: torch.ops.aten.batch_norm.default(x, *n.arguments()),
    "behind dropout": lambda x, n: n.layer(F.dropout(x, 0.5, training=False)),
    "behind Identity": lambda x, n: n.layer(nn.Identity()(x)),
    "behind contiguous": lambda x, n: n.layer(x.contiguous(memory_format=torch.channels_last)),
    "behind a reshape": lambda x, n: n.layer(x.reshape(len(x), CHANNELS, 1, -1)).view_as(x),
    "behind a transpose": lambda x, n: n.layer(x.transpose(2, 3)).transpose(2, 3),
    "behind a roll and a pad": lambda x, n: n.layer(F.pad(x.roll(1, 2), (1, 1)))[..., 1:-1].roll(-1, 2),
    "in slices": lambda x, n: torch.cat([x[:, :2] * n.factor[:, :2], x[:, 2:] * n.factor[:, 2:]], 1) + n.shift,
    "backward hook on it": lambda x, n: hooked(nn.Sequential(n.layer))(x),
    "backward hook before it": lambda x, n: n.layer(hooked(nn.Identity())(x)),
}


class Net(nn.Module):
    """A layer between a convolution and a rectifier."""

    def __init__(self, norm: Function) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        shapes = [(CHANNELS, 3, 3, 3), (CHANNELS, CHANNELS, 3, 3), (5, CHANNELS)]
        self.weights = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.conv2d(x, self.weights[0], padding=1))
        y = F.relu(self.norm(F.conv2d(y, self.weights[1], padding=1)))
        return F.linear(y.mean((2, 3)), self.weights[2])


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_constant_factor_is_a_batch_norm(spelling: str) -> None:
    norm, x = Norm(), torch.rand(2, 3, 6, 6)
    reference = Net(norm.layer).eval()
    model = Net(lambda y: SPELLINGS[spelling](y, norm)).eval()
    torch.testing.assert_close(model(x), reference(x))
    for treatment in ("clamp", "raw", "zplus"):
        options: Any = {"negative_activations": treatment, "contrastive": treatment == "clamp"}
        expected = ExcitationBackprop(reference, **options).attribute(x, [0, 3])
        torch.testing.assert_close(ExcitationBackprop(model, **options).attribute(x, [0, 3]), expected)


def test_the_batch_norm_is_the_folded_convolution() -> None:
    """What the spellings are compared with, by the equation."""
    norm, x = Norm(), torch.rand(1, 3, 6, 6)
    net = Net(norm.layer).eval()
    first, second, head = net.weights
    activations = [x, F.relu(F.conv2d(x, first, padding=1))]
    activations.append(F.relu(norm.layer(F.conv2d(activations[1], second, padding=1))).mean((2, 3)))
    activations[2] = F.relu(norm.layer(F.conv2d(activations[1], second, padding=1)))
    operators: list[Function] = [
        lambda a: F.conv2d(a, first.clamp(min=0), padding=1),
        lambda a: F.conv2d(a, (second * norm.factor.view(-1, 1, 1, 1)).clamp(min=0), padding=1),
        lambda a: F.linear(a.mean((2, 3)), head.clamp(min=0)),
    ]
    mass = torch.eye(5)[3:4]
    for activation, operator in zip(activations[::-1], operators[::-1], strict=True):
        leaf = activation.clone().requires_grad_()
        z = operator(leaf)
        (gradient,) = torch.autograd.grad(z, leaf, torch.where(z == 0, 0, mass / z))
        mass = gradient * activation
    torch.testing.assert_close(ExcitationBackprop(net).attribute(x, 3), mass.sum(1, keepdim=True))


@pytest.mark.parametrize(
    "scale",
    [
        lambda x: x * torch.tensor([1.0, -2.0, -0.5]),
        lambda x: (x.view(-1, 1, 3) * torch.tensor([1.0, -2.0, -0.5])).flatten(1),
        lambda x: x.mul_(torch.tensor([1.0, -2.0, -0.5])),
    ],
)
def test_a_factor_after_a_linear_layer_is_in_its_weight(scale: Function) -> None:
    weight, x = torch.randn(3, 8), torch.rand(1, 2, 2, 2)
    expected = all_maps(lambda y: F.linear(y.flatten(1), weight * torch.tensor([[1.0], [-2.0], [-0.5]])), x)
    torch.testing.assert_close(all_maps(lambda y: scale(F.linear(y.flatten(1), weight)), x), expected)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_factor_after_a_transposed_convolution_is_in_its_weight(groups: int) -> None:
    weight, x, factor = torch.randn(2, 4 // groups, 2, 2), torch.rand(1, 2, 3, 3), torch.tensor([1.0, -1.0, -2.0, 3.0])
    plain = all_maps(lambda y: F.conv_transpose2d(y, weight, groups=groups), x)
    opposite = all_maps(lambda y: F.conv_transpose2d(y, -weight, groups=groups), x)
    expected = torch.where(factor.repeat_interleave(16)[:, None, None] > 0, plain, opposite)
    scaled = all_maps(lambda y: F.conv_transpose2d(y, weight, groups=groups) * column(factor), x)
    torch.testing.assert_close(scaled, expected)


def test_a_factor_with_no_weighted_operator_before_it_passes_mass_unchanged() -> None:
    weight, x = torch.rand(3, 2, 3, 3), torch.rand(1, 2, 4, 4)
    expected = all_maps(lambda y: F.relu(F.conv2d(y, weight)), x)
    for factor in (torch.tensor([-1.0, 2.0, 0.0]), torch.tensor(-3.0)):
        after_relu = all_maps(lambda y, s=factor: F.relu(F.conv2d(y, weight)) * s.view(-1, 1, 1), x)  # type: ignore[misc]
        torch.testing.assert_close(after_relu, expected)
    before = all_maps(lambda y: F.relu(F.conv2d(-2 * y, -weight)), x)
    torch.testing.assert_close(before, torch.zeros_like(before))  # of −x nothing is positive


def test_the_unscaled_output_that_is_used_too_keeps_its_sign() -> None:
    weight, x = torch.tensor([[1.0, -1.0]]), torch.ones(1, 1, 1, 2)

    def forward(images: Tensor) -> Tensor:
        y = F.linear(images.flatten(1), weight)
        return torch.cat([y, -y], dim=1)

    maps, _ = excitation_maps(forward, x, torch.tensor([[0, 1]]), contrastive=False)
    torch.testing.assert_close(maps.flatten(), torch.tensor([1.0, 0.0, 0.0, 1.0]))


def test_a_factor_of_what_was_written_to_in_part_is_refused_where_its_sign_matters() -> None:
    def forward(images: Tensor, factor: float) -> Tensor:
        y = F.conv2d(images, torch.ones(4, 2, 1, 1))
        y[:, :2].relu_()
        y[:, 2:] *= factor
        return y

    x = torch.rand(1, 2, 2, 2)
    assert all_maps(lambda images: forward(images, 2.0), x).sum() == 16
    with pytest.raises(ValueError, match=r"no rule for torch\.Tensor\.mul_"):
        all_maps(lambda images: forward(images, -2.0), x)


def test_hooks_on_all_modules_change_nothing() -> None:
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]
    model, x = nn.Sequential(*layers), torch.rand(2, 3, 6, 6)
    expected = ExcitationBackprop(model).attribute(x, 1)
    for module in model.modules():
        hooked(module)
        module.register_full_backward_pre_hook(lambda *_: None)
    torch.testing.assert_close(ExcitationBackprop(model).attribute(x, 1), expected)
