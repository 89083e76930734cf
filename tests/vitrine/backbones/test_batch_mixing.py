from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from vitrine.backbones.batch_mixing import _is_per_image, mixes_batch


class Around(nn.Module):
    """A small network with a function of its features (B, 8) between its two layers."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.first = nn.Linear(3 * 16, 8)
        self.last = nn.Linear(8, 5)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.last(self.function(self.first(x.flatten(1))))


def minibatch_deviation(x: Tensor) -> Tensor:
    """As in Karras et al. 2018, with groups of at most four."""
    groups = x.view(min(4, len(x)), -1, x.shape[1])
    deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=1)
    return torch.cat([x[:, 1:], deviation.repeat(len(groups))[:, None]], dim=1)


def shifted_in_time(x: Tensor) -> Tensor:
    return torch.cat([torch.cat([x[:1, :2], x[:-1, :2]]), x[:, 2:]], dim=1)


def attention_over_the_batch(x: Tensor) -> Tensor:
    return x + F.scaled_dot_product_attention(x, x, x)


elsewhere = torch.Generator().manual_seed(1)
recurrent = nn.GRU(8, 8)  # takes (B, 8) for one sequence


def quantised_as_one(x: Tensor) -> Tensor:
    scale = x.detach().abs().max() / 127
    return (x / scale).round() * scale


MIXING: dict[str, Callable[[Tensor], Tensor]] = {
    "batch norm of the batch": lambda x: F.batch_norm(x, None, None, training=True),
    "hand-written batch norm": lambda x: (x - x.mean(dim=0)) / (x.var(dim=0, unbiased=False) + 1e-5).sqrt(),
    "softmax over the batch": lambda x: x.softmax(dim=0),
    "sharp softmax over the batch": lambda x: (1e4 * x).softmax(dim=0),
    "divided by the largest of all": lambda x: x / x.abs().max(),
    "without the mean of the batch": lambda x: x - x.mean(dim=0, keepdim=True),
    "minibatch deviation": minibatch_deviation,
    "attention over the batch": attention_over_the_batch,
    "recurrent over the batch": lambda x: recurrent(x)[0],
    "causal over the batch": lambda x: x.cumsum(dim=0),
    "shifted in time": shifted_in_time,
    "quantised by the range of all": quantised_as_one,
}
APART: dict[str, Callable[[Tensor], Any]] = {
    "each by itself": torch.tanh,
    "layer norm": lambda x: F.layer_norm(x, (8,)),
    "random": lambda x: x + torch.rand_like(x),
    "dropout that is never off": lambda x: F.dropout(x, training=True),
    "random elsewhere": lambda x: x + torch.rand(x.shape, generator=elsewhere),
    "not finite": lambda x: x / (x - x),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", MIXING)
def test_a_network_that_mixes_its_batch(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    recurrent.to(dtype)
    model = Around(MIXING[name]).to(dtype)
    image = torch.rand(1, 3, 4, 4, dtype=dtype)
    assert mixes_batch(model, image.repeat(2, 1, 1, 1))  # also where all images are the same
    assert mixes_batch(model, torch.rand(5, 3, 4, 4, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", APART)
def test_a_network_that_does_not(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Around(APART[name]).to(dtype)
    before = torch.get_rng_state()
    assert not mixes_batch(model, torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(dtype))
    assert torch.equal(torch.get_rng_state(), before)


def test_batch_norm_without_statistics_and_plain_layers_are_known_without_a_pass() -> None:
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Flatten(), nn.Linear(16, 2))
    images = torch.rand(2, 3, 4, 4)
    assert mixes_batch(model, images)
    model[1] = nn.BatchNorm2d(4)
    assert _is_per_image(model)
    assert not mixes_batch(model, images)
    model[1].register_buffer("running_mean", None)
    assert mixes_batch(model, images)


@pytest.mark.parametrize(
    "layer", [nn.Softmax(dim=0), nn.TransformerEncoderLayer(16, 2), nn.Flatten(0), nn.BatchNorm1d(16, affine=False)]
)
def test_layers_between_plain_ones_are_tried(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(2), layer, nn.Flatten(), nn.Linear(64, 2))
    assert mixes_batch(model, torch.rand(2, 3, 4, 4)) == isinstance(layer, nn.Softmax | nn.TransformerEncoderLayer)


def test_an_answer_is_kept_until_a_module_is_replaced() -> None:
    passes: list[int] = []

    def counted(x: Tensor) -> Tensor:
        passes.append(len(x))
        return x

    model, images = Around(counted), torch.rand(7, 3, 4, 4)
    assert not mixes_batch(model, images[:1])
    assert passes == []
    assert not any(mixes_batch(model, images) for _ in range(3))
    assert passes == [4, 4]
    model.add_module("last", nn.Softmax(dim=0))
    assert mixes_batch(model, images)


def test_memory_is_bounded_and_batches_of_one_size_will_do() -> None:
    passes, sizes = list[int](), set[int]()

    def counted(x: Tensor) -> Tensor:
        passes.append(len(x))
        if len(x) not in sizes:
            raise RuntimeError("of another size")
        return x.cumsum(dim=0)

    for size, at_most, expected in ((3, 3, [3, 3, 3]), (2, 2, [2] * 5), (7, None, [4, 7, 7, 7]), (1, 1, [])):
        passes.clear()
        sizes = {size}
        assert mixes_batch(Around(counted), torch.rand(7, 3, 4, 4), at_most) == bool(expected)
        assert passes == expected


def test_a_model_that_fails_is_tried_again() -> None:
    model = Around(lambda x: x.softmax(dim=0))
    assert not mixes_batch(model, torch.rand(2, 3, 5, 5))
    assert mixes_batch(model, torch.rand(2, 3, 4, 4))


@pytest.mark.parametrize("form", [dict, SimpleNamespace])
def test_all_outputs_count(form: type) -> None:
    class Several(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return [form(alone=x.flatten(1), regressed=x.mean(dim=(1, 2, 3)) - x.mean(), shared=x.new_ones(3))]

    assert mixes_batch(Several(), torch.rand(2, 3, 4, 4))


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_small", "vit_b_32", "swin_t", "convnext_tiny", "googlenet", "mnasnet0_5"]
)
def test_networks_of_torchvision_need_no_pass(name: str) -> None:
    with torch.device("meta"):
        model = models.get_model(name, num_classes=5, **({"init_weights": False} if name == "googlenet" else {}))
    assert _is_per_image(model)
    assert not mixes_batch(model, torch.rand(2, 3, 64, 64))


def test_a_network_of_torchvision_that_was_changed_is_tried() -> None:
    model = models.squeezenet1_1(num_classes=5)
    plain = model.forward
    model.forward = lambda x: plain(x).softmax(dim=0)
    assert mixes_batch(model, torch.rand(2, 3, 32, 32))
