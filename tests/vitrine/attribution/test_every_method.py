"""Every exported method: its properties, shapes, batches, several targets, bounds on memory, and an unchanged model."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine.attribution import Method
from vitrine.attribution.registry import all_methods
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.guard import eval_guard

NAMES = list(all_methods())


class Chain(nn.Module):
    """Convolutions, batch norm, dropout, in-place ReLUs, and a linear layer on the global average."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(0.5),
            nn.Conv2d(6, 8, 3, padding=1, groups=2), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return logits


class Branched(Chain):
    """The same with a residual sum, a cat and a reused functional ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = F.relu(torch.cat([self.left(x), self.right(x)], dim=1) + x)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class Pooled(Chain):
    """The same as `Chain` with all operators as modules, which LRP needs."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.flatten(self.pool(self.features(x)), 1))
        return logits


class Attending(Chain):
    """The same as `Chain` with attention over all cells of the map, which attention methods need."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.features(x).flatten(2).mT
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        logits: Tensor = self.head(tokens.mean(dim=1))
        return logits


MODELS: dict[str, type[Chain]] = {"Chain": Chain, "Branched": Branched, "Pooled": Pooled, "Attending": Attending}


def build(kind: type[Chain], seed: int = 0) -> Chain:
    torch.manual_seed(seed)
    model = kind()
    norm = model.features[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.normal_(norm.weight)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return model


def make(name: str, model: nn.Module, layer: str | None = None, **options: Any) -> Method:
    kind: Any = all_methods()[name]
    method: Method = kind(model, layer, **kind.quick_options, **options)
    return method


@cache
def fitting_model(name: str) -> type[Chain]:
    """`Chain`, or the first of `Pooled` and `Attending` for a method that has requirements and refuses `Chain`."""
    for kind in (Chain, Pooled):
        try:
            make(name, build(kind).eval(), layer_for(name)).attribute(torch.rand(1, 3, 16, 16), **explained(name, 0))
        except ValueError:
            assert all_methods()[name].network_requirement
        else:
            return kind
    return Attending


def model_for(name: str, seed: int = 0) -> Chain:
    return build(fitting_model(name), seed).eval()


def explained(name: str, indices: Any) -> dict[str, Any]:
    return {"target" if all_methods()[name].explains_classes else "channel": indices}


def layer_for(name: str) -> str | None:
    return None if all_methods()[name].explains_classes else "features.4"


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_batches_targets_and_bounds(name: str, images: Tensor) -> None:
    model = model_for(name)
    method = make(name, model, layer_for(name))
    maps = method.attribute(images, **explained(name, [0, 4, 2]))
    assert maps.shape == ((3, 3, 16, 16) if all_methods()[name].gradient_like else (3, 1, 16, 16))
    assert not maps.requires_grad
    assert maps.isfinite().all()
    singly = [method.attribute(images[i : i + 1], **explained(name, [0, 4, 2][i])) for i in range(3)]
    close: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5 * float(maps.abs().max())}
    torch.testing.assert_close(maps, torch.cat(singly), **close)
    bounded = make(name, model, layer_for(name), internal_batch_size=2)
    torch.testing.assert_close(bounded.attribute(images, **explained(name, torch.tensor([0, 4, 2]))), maps, **close)
    several = method.attribute(images, **explained(name, torch.tensor([[0, 1], [4, 4], [3, 2]])))
    assert several.shape == (3, 2, *maps.shape[1:])
    torch.testing.assert_close(several[[0, 1, 2], [0, 1, 1]], maps, **close)
    torch.testing.assert_close(method.attribute(images, **explained(name, [0, 4, 2])), maps, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_channel_or_a_sentence(name: str, images: Tensor) -> None:
    method = make(name, model_for(name), "features.4")
    if not method.explains_channels:
        with pytest.raises(ValueError, match="channel"):
            method.attribute(images, channel=1)
    else:
        maps = method.attribute(images, channel=torch.tensor([[7, 1], [2, 3], [0, 0]]))
        assert maps.shape[:2] == (3, 2)
        assert maps.shape[3:] == (16, 16)
        torch.testing.assert_close(maps[:, 1], method.attribute(images, channel=[1, 3, 0]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_or_a_sentence(name: str, images: Tensor) -> None:
    method = make(name, model_for(name), layer_for(name))
    if not method.explains_classes:
        for classes in (None, 1, [0, 4, 2]):
            with pytest.raises(ValueError, match=f"{name} explains channels, not classes"):
                method.attribute(images, classes)
    else:
        predicted = model_for(name)(images).argmax(dim=1)
        torch.testing.assert_close(method.attribute(images), method.attribute(images, predicted))


@pytest.mark.parametrize("name", NAMES)
def test_signed_maps_are_those_with_negative_values(name: str, images: Tensor) -> None:
    maps = [
        make(name, model_for(name, seed), layer_for(name)).attribute(images, **explained(name, 1)) for seed in range(3)
    ]
    assert bool((torch.stack(maps) < 0).any()) == all_methods()[name].signed


@pytest.mark.parametrize("name", [name for name, kind in all_methods().items() if kind.draws_target_layer])
def test_the_target_layer_is_drawn_if_none_is_named(name: str, images: Tensor) -> None:
    model = model_for(name)
    with eval_guard(model):
        last = target_layer(model, images)
    assert last == "features"
    arguments = explained(name, 1)
    if all_methods()[name].explains_classes:
        maps = make(name, model).attribute(images, **arguments)
        torch.testing.assert_close(maps, make(name, model, last).attribute(images, **arguments), rtol=0, atol=0)
    first, other = (make(name, model, layer).attribute(images, **arguments) for layer in ("features.0", last))
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("name", NAMES)
def test_methods_that_are_not_slow_make_few_forward_passes(name: str, images: Tensor) -> None:
    model, rows = model_for(name), list[int]()
    kind: Any = all_methods()[name]
    method = kind(model, layer_for(name), **(kind.quick_options if kind.slow else {}))
    method.attribute(images[:1], **explained(name, 1))  # the first call may cost more
    model.features[0].register_forward_pre_hook(lambda _, arguments: rows.append(len(arguments[0])))
    method.attribute(images[:1], **explained(name, 1))
    assert (sum(rows) > 3) == kind.slow


@pytest.mark.parametrize("name", NAMES)
def test_properties_are_documented(name: str) -> None:
    method = all_methods()[name]
    assert method.paper
    assert method.explains_classes or method.explains_channels
    assert re.search(rf">>> .*\b{name}\(", str(method.__doc__))


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Fails where what is done within leaves a trace on the model or on the random state."""
    state = copy.deepcopy(model.state_dict())
    versions = [tensor._version for tensor in (*model.parameters(), *model.buffers())]
    modes = [module.training for module in model.modules()]
    gradients = [(p.requires_grad, None if p.grad is None else (p.grad, p.grad.clone())) for p in model.parameters()]
    names = [set(vars(module)) for module in model.modules()]
    random = torch.get_rng_state()
    try:
        yield
    finally:
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert [tensor._version for tensor in (*model.parameters(), *model.buffers())] == versions
        assert [module.training for module in model.modules()] == modes
        for parameter, (asked, before) in zip(model.parameters(), gradients, strict=True):
            assert parameter.requires_grad == asked
            assert parameter.grad is (None if before is None else before[0])
            assert before is None or torch.equal(before[0], before[1])
        assert [set(vars(module)) for module in model.modules()] == names
        for module in model.modules():
            hooks = (
                module._forward_hooks,
                module._forward_pre_hooks,
                module._backward_hooks,
                module._backward_pre_hooks,
            )
            assert not any(hooks)
        assert torch.equal(torch.get_rng_state(), random)


def prepared(kind: type[Chain], data: st.DataObject) -> Chain:
    """A model in some state of training."""
    model = build(kind, data.draw(st.integers(0, 100), label="seed"))
    model.train(data.draw(st.booleans(), label="training"))
    model.features[1].train(data.draw(st.booleans(), label="batch norm training"))
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(data.draw(st.booleans(), label=f"requires_grad of {number}"))
        if parameter.requires_grad and number % 2:
            parameter.grad = torch.randn_like(parameter)
    return model


@settings(max_examples=150)
@given(data=st.data(), name=st.sampled_from(NAMES), kind=st.sampled_from(sorted(MODELS)), fails=st.booleans())
def test_the_model_is_left_as_it_was(data: st.DataObject, name: str, kind: str, fails: bool) -> None:
    """After success, after an error of the model's own at some call, and after an error of the caller's."""
    model = prepared(MODELS[kind], data)
    images = torch.rand(2, 3, 16, 16)
    calls = data.draw(st.integers(0, 4), label="calls before the error") if fails else -1
    original_forward, passes = type(model.head).forward, []

    def forward(self: nn.Linear, x: Tensor) -> Tensor:
        passes.append(1)
        if len(passes) == calls + 1:
            raise RuntimeError("the model's own error")
        return original_forward(self, x)

    method = make(name, model, layer_for(name))
    target = data.draw(st.sampled_from([0, [1, 2], 99]), label="target")
    with left_as_it_was(model), pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Linear, "forward", forward)
        try:
            method.attribute(images, **explained(name, target))
        except (RuntimeError, ValueError):
            is_refused = bool(method.network_requirement) and MODELS[kind] is not fitting_model(name)
            assert fails or target == 99 or is_refused
