"""What holds of every public method: shapes, batches, several targets, bounds on memory, and a model left as it was."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine import attribution
from vitrine.attribution import Method

Make = Callable[..., Method]

FAST: dict[str, dict[str, Any]] = {
    "RISE": {"masks": 12, "grid": 3},
    "SmoothGrad": {"samples": 3},
    "IntegratedGradients": {"steps": 4},
    "Occlusion": {"window": 6, "stride": 4},
    "MeaningfulPerturbation": {"iterations": 3, "grid": 4, "blur": 2.0, "mask_blur": 0.0, "jitter": 1},
    "InversionMask": {"inversion_steps": 2, "class_steps": 3},
    "ExtremalPerturbation": {"iterations": 3, "step": 4, "sigma": 4.0, "blur": 2.0},
}
GRADIENT_LIKE = {
    "Deconvnet", "GuidedBackprop", "GuidedGradCAM", "GuidedGradCAMPlusPlus", "IntegratedGradients", "LRP", "Saliency",
    "SmoothGrad",
}  # fmt: skip
NEEDS_A_CHANNEL = {"UpsampledActivation"}
CLASSES_ONLY = {
    "CAM", "GradCAM", "GradCAMPlusPlus", "LayerCAM", "ScoreCAM", "GuidedGradCAM", "GuidedGradCAMPlusPlus",
    "InversionMask",
}  # fmt: skip
NAMES = sorted(
    name
    for name in attribution.__all__
    if isinstance(kind := getattr(attribution, name), type) and issubclass(kind, Method) and kind is not Method
)
PUBLIC = {
    "Deconvnet", "GuidedBackprop", "ExcitationBackprop", "UpsampledActivation", "CAM", "GradCAM", "GradCAMPlusPlus",
    "LayerCAM", "ScoreCAM", "GuidedGradCAM", "GuidedGradCAMPlusPlus", "Saliency", "IntegratedGradients", "SmoothGrad",
    "LRP", "Occlusion", "MeaningfulPerturbation", "RISE", "ExtremalPerturbation", "Center", "InversionMask",
}  # fmt: skip


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


MODELS: dict[str, type[Chain]] = {"Chain": Chain, "Branched": Branched}
REFUSED = ("LRP", "Branched")  # it has a sum


class Pooled(Chain):
    """All operators as modules, which is what LRP can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.flatten(self.pool(self.features(x)), 1))
        return logits


def build(kind: type[Chain], seed: int = 0) -> Chain:
    torch.manual_seed(seed)
    model = kind()
    norm = model.features[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.normal_(norm.weight)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return model


def make(name: str, model: nn.Module, layer: str | None = None, **options: Any) -> Method:
    kind: Make = getattr(attribution, name)
    return kind(model, layer, **FAST.get(name, {}), **options)


def model_for(name: str, seed: int = 0) -> Chain:
    return build(Pooled if name == "LRP" else Chain, seed)


def explained(name: str, units: Any) -> dict[str, Any]:
    return {"channel" if name in NEEDS_A_CHANNEL else "target": units}


def layer_for(name: str) -> str | None:
    return "features.4" if name in NEEDS_A_CHANNEL else None


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_all_public_names_are_there() -> None:
    assert set(NAMES) == PUBLIC


@pytest.mark.parametrize("name", NAMES)
def test_shapes_batches_targets_and_bounds(name: str, images: Tensor) -> None:
    model = model_for(name).eval()
    method = make(name, model, layer_for(name))
    maps = method.attribute(images, **explained(name, [0, 4, 2]))
    assert maps.shape == ((3, 3, 16, 16) if name in GRADIENT_LIKE else (3, 1, 16, 16))
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
    method = make(name, model_for(name).eval(), "features.4")
    if name in CLASSES_ONLY:
        with pytest.raises(ValueError, match="channel"):
            method.attribute(images, channel=1)
    else:
        maps = method.attribute(images, channel=torch.tensor([[7, 1], [2, 3], [0, 0]]))
        assert maps.shape[:2] == (3, 2)
        assert maps.shape[3:] == (16, 16)
        torch.testing.assert_close(maps[:, 1], method.attribute(images, channel=[1, 3, 0]), rtol=1e-4, atol=1e-6)


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
    model = prepared(Pooled if name == "LRP" and kind == "Chain" else MODELS[kind], data)
    images = torch.rand(2, 3, 16, 16)
    calls = data.draw(st.integers(0, 4), label="calls before the error") if fails else -1
    plain, seen = type(model.head).forward, []

    def forward(self: nn.Linear, x: Tensor) -> Tensor:
        seen.append(1)
        if len(seen) == calls + 1:
            raise RuntimeError("the model's own error")
        return plain(self, x)

    method = make(name, model, layer_for(name))
    target = data.draw(st.sampled_from([0, [1, 2], 99]), label="target")
    with left_as_it_was(model), pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Linear, "forward", forward)
        try:
            method.attribute(images, **explained(name, target))
        except (RuntimeError, ValueError):
            assert fails or target == 99 or (name, kind) == REFUSED
