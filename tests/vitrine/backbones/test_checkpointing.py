import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed._composable.checkpoint_activation import checkpoint as composable
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper
from torch.utils import checkpoint as torch_checkpoint
from torch.utils.checkpoint import checkpoint, checkpoint_sequential, create_selective_checkpoint_contexts

from vitrine.attribution import (
    LRP,
    Deconvnet,
    ExcitationBackprop,
    ExtremalPerturbation,
    GradCAM,
    GuidedBackprop,
    IntegratedGradients,
    InversionMask,
    LayerCAM,
    Saliency,
)
from vitrine.attribution.inversion import InversionLayers, InversionSettings, InvertedNetwork, make_problem
from vitrine.backbones.checkpointing import without_checkpointing

Run = Callable[..., Tensor]


class Checkpointed(nn.Module):
    """A body that runs by ``run(body, x)``, and a head."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(self.body, x))


def wrapped(implementation: CheckpointImpl, body: nn.Module, x: Tensor) -> Tensor:
    return checkpoint_wrapper(body, checkpoint_impl=implementation)(x)


def composed(body: nn.Module, x: Tensor) -> Tensor:
    return composable(copy.deepcopy(body))(x)


def saving_nothing(*_args: Any, **_kwargs: Any) -> torch_checkpoint.CheckpointPolicy:
    return torch_checkpoint.CheckpointPolicy.PREFER_RECOMPUTE


def nested(body: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(lambda y: checkpoint(body, y, use_reentrant=False), x, use_reentrant=False)


FORMS: dict[str, Run] = {
    "reentrant": partial(checkpoint, use_reentrant=True),
    "not reentrant": partial(checkpoint, use_reentrant=False),
    "by the module's name": lambda body, x: torch_checkpoint.checkpoint(body, x, use_reentrant=True),
    "sequential": lambda body, x: checkpoint_sequential(body, 2, x, use_reentrant=False),
    "sequential, reentrant": lambda body, x: checkpoint_sequential(body, 2, x, use_reentrant=True),
    "selective": partial(
        checkpoint,
        use_reentrant=False,
        context_fn=partial(create_selective_checkpoint_contexts, saving_nothing),
    ),
    "nested": nested,
    "wrapper": partial(wrapped, CheckpointImpl.NO_REENTRANT),
    "wrapper, reentrant": partial(wrapped, CheckpointImpl.REENTRANT),
    "composable": composed,
}


def calls_and_gradient(model: Checkpointed) -> tuple[int, Tensor]:
    """How often the first layer ran in a forward and a backward pass, and the gradient at the pixels."""
    calls = []
    handle = model.body[0].register_forward_hook(lambda *_: calls.append(1))
    pixels = torch.linspace(-1, 1, 3 * 81).view(1, 3, 9, 9).requires_grad_()
    model(pixels).square().sum().backward()
    handle.remove()
    assert pixels.grad is not None
    return len(calls), pixels.grad


def globals_of_torch() -> tuple[object, ...]:
    return torch_checkpoint._checkpoint_hook, *map(str, sorted(vars(torch_checkpoint.CheckpointFunction)))


@pytest.mark.parametrize("form", FORMS)
def test_segments_run_once_and_the_gradient_is_the_plain_one(form: str) -> None:
    torch.manual_seed(0)
    model, before = Checkpointed(FORMS[form]), globals_of_torch()
    plain = copy.deepcopy(model)
    plain.run = lambda body, x: body(x)
    with without_checkpointing():
        calls, gradient = calls_and_gradient(model)
    assert globals_of_torch() == before
    if form != "composable":  # it runs a copy, without the hook that counts
        assert calls == 1
        assert calls_and_gradient(model)[0] == 2  # checkpointing is on again
    torch.testing.assert_close(gradient, calls_and_gradient(plain)[1], rtol=0, atol=0)


def test_reentrant_segments_give_gradients_at_single_tensors() -> None:
    model = Checkpointed(FORMS["reentrant"])
    pixels = torch.rand(1, 3, 9, 9, requires_grad=True)
    with pytest.raises(RuntimeError, match="use_reentrant"):
        torch.autograd.grad(model(pixels).sum(), pixels)
    with without_checkpointing():
        (gradient,) = torch.autograd.grad(model(pixels).sum(), pixels)
    assert gradient.any()


def test_torch_is_as_before_after_an_exception_and_within_nested_contexts() -> None:
    def nested() -> None:
        with without_checkpointing():
            with without_checkpointing():
                pass
            assert calls_and_gradient(Checkpointed(FORMS["not reentrant"]))[0] == 1
            raise KeyError

    before = globals_of_torch()
    with pytest.raises(KeyError):
        nested()
    assert globals_of_torch() == before


@pytest.mark.parametrize("form", ["reentrant", "not reentrant"])
def test_other_threads_go_on_with_checkpointing(form: str) -> None:
    counts: list[int] = []
    with without_checkpointing():
        other = threading.Thread(target=lambda: counts.append(calls_and_gradient(Checkpointed(FORMS[form]))[0]))
        other.start()
        other.join()
    assert counts == [2]


def test_a_version_of_torch_without_the_names_keeps_its_checkpointing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pixels = Checkpointed(FORMS["not reentrant"]), torch.rand(1, 3, 9, 9)
    monkeypatch.delattr(torch_checkpoint, "_checkpoint_hook")
    monkeypatch.delattr(torch_checkpoint, "CheckpointFunction")
    with without_checkpointing(), torch.no_grad():
        model(pixels)
    assert not hasattr(torch_checkpoint, "_checkpoint_hook")


def test_losses_of_inversion_masks_in_training() -> None:
    images = torch.randn(2, 3, 12, 12)
    gradients = []
    for run in (FORMS["reentrant"], lambda body, x: body(x)):
        torch.manual_seed(0)
        model = Checkpointed(run).requires_grad_(requires_grad=False).eval()
        network = InvertedNetwork(model, InversionLayers("body.2", ("body.2",)), InversionSettings())
        objective, _, start = make_problem(network, network.settings, images)
        weights = start.clone().requires_grad_()
        (objective.class_loss(weights) + objective.inversion_loss(weights)).sum().backward()
        assert weights.grad is not None
        gradients.append(weights.grad)
    assert torch.equal(*gradients)


METHODS: dict[str, Callable[[nn.Module], Any]] = {
    "Saliency": Saliency,
    "IntegratedGradients": lambda model: IntegratedGradients(model, steps=3),
    "GuidedBackprop": GuidedBackprop,
    "GradCAM": GradCAM,
    "LayerCAM of a layer within": lambda model: LayerCAM(model, "body.2"),
    "ExcitationBackprop": ExcitationBackprop,
    "LRP": LRP,
    "ExtremalPerturbation": lambda model: ExtremalPerturbation(model, iterations=2, step=4, sigma=4.0, blur=2.0),
    "InversionMask": lambda model: InversionMask(model, variant="fine", class_steps=2),
    "channel": lambda model: Deconvnet(model, "body.2"),
}


@pytest.mark.parametrize("form", ["reentrant", "not reentrant", "sequential, reentrant"])
def test_methods_give_what_they_give_without_checkpointing(form: str) -> None:
    torch.manual_seed(0)
    model, images = Checkpointed(FORMS[form]), torch.randn(2, 3, 12, 12)
    plain = copy.deepcopy(model)
    plain.run = lambda body, x: body(x)
    for name, make in METHODS.items():
        explained = {"channel": 1} if name == "channel" else {"target": 1}
        actual, expected = (make(one).attribute(images, **explained) for one in (model, plain))
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
