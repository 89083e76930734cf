import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.backbones.guard import eval_guard
from vitrine.backbones.model_parts import parts_of
from vitrine.backbones.written_state import written_state_restored

IMAGES = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Writer(nn.Module):
    """Changes its own state in evaluation, in a way that the test chooses."""

    mean: Tensor
    variance: Tensor
    low: Tensor
    high: Tensor
    ready: Tensor
    unknown: Tensor
    sparse: Tensor

    def __init__(self, write: Callable[["Writer", Tensor], Tensor]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("variance", torch.ones(3), persistent=False)
        self.register_buffer("low", torch.zeros(1))
        self.register_buffer("high", torch.ones(1))
        self.register_buffer("ready", torch.tensor(False))  # noqa: FBT003
        self.head = nn.Linear(3, 2)
        self.write = write

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.write(self, images).mean(dim=(2, 3)))


def running_mean(model: Writer, images: Tensor) -> Tensor:
    with torch.no_grad():
        model.mean.mul_(0.9).add_(0.1 * images.mean(dim=(0, 2, 3)))
    return images - model.mean[:, None, None]


def batch_statistics(model: Writer, images: Tensor) -> Tensor:
    return F.batch_norm(images, model.mean, model.variance, training=True)


def new_buffer(model: Writer, images: Tensor) -> Tensor:
    model.mean = model.mean + images.mean(dim=(0, 2, 3)).detach()
    return images - model.mean[:, None, None]


def further_buffer(model: Writer, images: Tensor) -> Tensor:
    model.register_buffer("cache", images.detach().mean())
    return images


def through_data(model: Writer, images: Tensor) -> Tensor:
    model.scale.data += 1
    return images * model.scale[:, None, None]


def first_batch_scale(model: Writer, images: Tensor) -> Tensor:
    if not model.ready:
        with torch.no_grad():
            model.scale.copy_(1 / images.std(dim=(0, 2, 3)))
            model.ready.fill_(True)  # noqa: FBT003
    return images * model.scale[:, None, None]


def new_parameter(model: Writer, images: Tensor) -> Tensor:
    model.scale = nn.Parameter(model.scale.detach() + 1)
    return images * model.scale[:, None, None]


def observed_range(model: Writer, images: Tensor) -> Tensor:
    on, scale, zero_point = torch.ones(1, dtype=torch.long), torch.ones(1), torch.zeros(1, dtype=torch.int32)
    return torch.fused_moving_avg_obs_fake_quant(
        images, on, on, model.low, model.high, scale, zero_point, 0.1, 0, 255, 0
    )


def plain_flag(model: Writer, images: Tensor) -> Tensor:
    if not getattr(model, "is_ready", False):
        model.scale.data.copy_(1 / images.std(dim=(0, 2, 3)))
        vars(model)["is_ready"] = True
    return images * model.scale[:, None, None]


def plain_tensor(model: Writer, images: Tensor) -> Tensor:
    model.__dict__.setdefault("running", torch.zeros(3)).mul_(0.9).add_(images.detach().mean(dim=(0, 2, 3)))
    return images - model.__dict__["running"][:, None, None]


WRITES = [
    plain_flag,
    plain_tensor,
    observed_range,
    running_mean,
    batch_statistics,
    new_buffer,
    further_buffer,
    through_data,
    first_batch_scale,
    new_parameter,
]


def tensors_of(model: nn.Module) -> dict[str, Any]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def check_same(model: nn.Module, before: dict[str, Any], values: dict[str, Tensor]) -> None:
    after = tensors_of(model)
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert all(torch.equal(after[name], values[name]) for name in before)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("passes", [1, 3])
def test_values_and_tensors_are_put_back_at_every_call(write: Callable[[Writer, Tensor], Tensor], passes: int) -> None:
    model = Writer(write)
    before, values = tensors_of(model), copy.deepcopy(tensors_of(model))
    for _ in range(3):
        with eval_guard(model):
            for _ in range(passes):
                inputs = IMAGES.clone().requires_grad_()
                model(inputs).sum().backward()
                assert inputs.grad is not None
        check_same(model, before, values)


@pytest.mark.parametrize("write", WRITES)
def test_passes_without_gradients_start_from_the_same_values(write: Callable[[Writer, Tensor], Tensor]) -> None:
    model = Writer(write)
    with torch.no_grad(), eval_guard(model):
        first, second = model(IMAGES), model(IMAGES)
    assert torch.equal(first, second)


@pytest.mark.parametrize("write", WRITES)
def test_values_are_put_back_after_an_error(write: Callable[[Writer, Tensor], Tensor]) -> None:
    def write_and_fail(model: Writer, images: Tensor) -> Tensor:
        write(model, images)
        raise RuntimeError("within")

    model = Writer(write_and_fail)
    before, values = tensors_of(model), copy.deepcopy(tensors_of(model))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="within"), eval_guard(model):
            model(IMAGES)
        check_same(model, before, values)


def test_a_model_that_begins_to_write_to_a_parameter_is_named() -> None:
    model = Writer(lambda _, images: images)
    with eval_guard(model):
        model(IMAGES)
    model.write = first_batch_scale
    with pytest.raises(ValueError, match="'scale'"), eval_guard(model):
        model(IMAGES)


def test_not_a_number_and_sparse_buffers_stay_the_same_tensors_without_a_write() -> None:
    model = Writer(lambda _, images: images)
    model.register_buffer("unknown", torch.tensor([float("nan"), 1.0]))
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    version = model.unknown._version
    with eval_guard(model):
        model(IMAGES)
    assert model.unknown._version == version
    assert torch.equal(model.sparse.to_dense(), torch.eye(3))


def test_a_lazy_layer_without_values_is_named() -> None:
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(ValueError, match=r"'1\.weight'"), written_state_restored(model, parts_of(model)):
        pass


class LowRank(nn.Linear):
    """A linear layer whose low-rank update is merged into its weight in evaluation, as LoRA layers do."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.down, self.up = nn.Parameter(torch.randn(1, 3)), nn.Parameter(torch.randn(2, 1))
        self.merged = False
        self.weight.requires_grad = False

    def train(self, mode: bool = True) -> "LowRank":
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (-1.0 if mode else 1.0) * (self.up @ self.down)
            self.merged = not mode
        return self

    def forward(self, features: Tensor) -> Tensor:
        update = 0 if self.merged else (self.up @ self.down)
        return F.linear(features, self.weight + update, self.bias)


def test_a_layer_that_merges_its_weights_in_evaluation_trains_on_as_before() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), LowRank()).train()
    before, values, logits = tensors_of(model), copy.deepcopy(tensors_of(model)), model(IMAGES)
    for _ in range(3):
        with eval_guard(model):
            assert model[2].merged
            torch.testing.assert_close(model(IMAGES), logits)
        assert not model[2].merged
        assert model(IMAGES).requires_grad
        check_same(model, before, values)


class Growing(nn.Module):
    """Makes its layer in its first pass, and notes that it has."""

    def __init__(self, register: Callable[["Growing"], None]) -> None:
        super().__init__()
        self.is_built = False
        self.register = register

    def forward(self, images: Tensor) -> Tensor:
        if not self.is_built:
            self.register(self)
            self.is_built = True
        weight: Any = self.get_parameter("late" if hasattr(self, "late") else "layer.weight")
        return images.mean(dim=(2, 3)) @ weight.T


@pytest.mark.parametrize(
    "register",
    [
        lambda model: setattr(model, "layer", nn.Linear(3, 2)),
        lambda model: model.register_parameter("late", nn.Parameter(torch.rand(2, 3))),
    ],
)
def test_a_model_that_makes_its_layers_in_its_first_pass_keeps_them(register: Callable[[Growing], None]) -> None:
    model = Growing(register)
    with eval_guard(model):
        first = model(IMAGES)
    for _ in range(2):
        with eval_guard(model):
            assert torch.equal(model(IMAGES), first)
