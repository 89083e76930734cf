"""Networks without gradients are refused by all methods that need them, and networks with any are not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution import (
    ExcitationBackprop,
    ExtremalPerturbation,
    GradCAM,
    GuidedBackprop,
    InversionMask,
    LayerCAM,
    MeaningfulPerturbation,
    Occlusion,
    Saliency,
    SmoothGrad,
    UpsampledActivation,
)
from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating, leads_to
from vitrine.attribution.gradient.deconvnet import Deconvnet
from vitrine.filters.heatmaps import filter_heatmaps

METHODS: dict[str, Callable[[nn.Module], Any]] = {
    "Saliency": Saliency,
    "SmoothGrad": lambda model: SmoothGrad(model, n_samples=2),
    "GuidedBackprop": GuidedBackprop,
    "Deconvnet": Deconvnet,
    "GradCAM": GradCAM,
    "GradCAM of a layer": lambda model: GradCAM(model, "body.1"),
    "LayerCAM of a layer": lambda model: LayerCAM(model, "body.2"),
    "ExcitationBackprop": ExcitationBackprop,
    "contrastive": lambda model: ExcitationBackprop(model, contrastive=True),
    "ExtremalPerturbation": lambda model: ExtremalPerturbation(model, iterations=2, step=4, sigma=4.0, blur=2.0),
    "MeaningfulPerturbation": lambda model: MeaningfulPerturbation(model, iterations=2, grid=3, blur=1.0),
    "InversionMask": lambda model: InversionMask(model, inversion_steps=1, class_steps=1),
    "InversionMask, guided": lambda model: InversionMask(model, variant="fine", class_steps=1),
}


class Net(nn.Module):
    """A body, a head, and what is done with the features between them."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2), nn.ReLU())
        self.head = nn.Linear(6, 5)
        self.between = between

    def forward(self, images: Tensor) -> Tensor:
        return self.between(self, images)


def classified(net: Net, features: Tensor) -> Tensor:
    return net.head(features.mean(dim=(2, 3)))


def without_gradient(mode: Callable[[], Any]) -> Callable[[Net, Tensor], Tensor]:
    def run(net: Net, images: Tensor) -> Tensor:
        with mode():
            features = net.body(images)
        return classified(net, features)

    return run


def within(mode: Callable[[], Any]) -> Callable[[Net, Tensor], Tensor]:
    def run(net: Net, images: Tensor) -> Tensor:
        with mode():
            return classified(net, net.body(images))

    return run


def as_features(change: Callable[[Tensor], Tensor]) -> Callable[[Net, Tensor], Tensor]:
    return lambda net, images: classified(net, change(net.body(images)))


def as_logits(change: Callable[[Tensor], Tensor]) -> Callable[[Net, Tensor], Tensor]:
    return lambda net, images: change(classified(net, net.body(images)))


class Forward(torch.autograd.Function):
    """Has no backward pass."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x * 2


class GivingNone(torch.autograd.Function):
    """Has a backward pass without a gradient."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(_ctx: Any, *_received: Tensor) -> None:
        return None


unregistered = [torch.ones(5, requires_grad=True)]
"""Makes an output that has a graph, but none to the image."""

CLOSED: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "no_grad": within(torch.no_grad),
    "inference_mode": within(torch.inference_mode),
    "set_grad_enabled": within(lambda: torch.set_grad_enabled(False)),
    "frozen body": without_gradient(torch.no_grad),
    "detach": as_features(Tensor.detach),
    "data": as_logits(lambda x: x.data),
    "numpy": as_features(lambda x: torch.from_numpy(np.tanh(x.detach().numpy()))),
    "list": as_logits(lambda x: torch.tensor(x.tolist())),
    "argmax": as_logits(lambda x: nn.functional.one_hot(x.argmax(dim=1), 5).float()),
    "compared": as_logits(lambda x: (x > 0).float()),
    "rounded": as_features(lambda x: (x * 100).round() / 100),
    "floor": as_logits(lambda x: (8 * x).floor() * 3),
    "signs": as_features(torch.sign),
    "whole division": as_features(lambda x: torch.div(x, 0.01, rounding_mode="floor")),
    "without backward": as_features(Forward.apply),
    "without derivative": as_features(lambda x: torch.heaviside(x - 0.1, torch.zeros(()))),
    "constants": lambda _net, images: torch.ones(len(images), 5),
    "parameters alone": lambda net, images: net.head.bias.expand(len(images), 5),
    "graph without the image": as_logits(lambda x: x.detach() * unregistered[0]),
}
OPEN: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "as it is": as_features(torch.clone),
    "one branch detached": as_features(lambda x: x + x.detach()),
    "one branch rounded": as_features(lambda x: x + (x.round() - x).detach()),
    "times zero": as_features(lambda x: x * 0),
    "dead": as_features(lambda x: (x - 1e6).relu()),
}


def images() -> Tensor:
    return torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("reason", CLOSED)
def test_all_methods_refuse_a_network_without_a_gradient(reason: str) -> None:
    torch.manual_seed(0)
    model = Net(CLOSED[reason])
    for name, make in METHODS.items():
        if (reason == "whole division" and issubclass(type(make(model)), ExcitationBackprop)) or (
            reason in {"constants", "parameters alone"} and name.endswith("of a layer")
        ):
            continue  # it has a rule of its own for this; the layer does not run
        with pytest.raises(ValueError, match=r"No gradient leads.*Occlusion") as error:
            make(model).attribute(images(), target=1)
        assert "\n" not in str(error.value)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    Occlusion(model, window=6, stride=6).attribute(images(), target=1)


@pytest.mark.parametrize("reason", OPEN)
def test_gradients_that_are_zero_and_detached_branches_are_no_errors(reason: str) -> None:
    torch.manual_seed(0)
    model = Net(OPEN[reason])
    strict = () if "branch" in reason else (GuidedBackprop,)  # a rectifier could hide in what comes back into the graph
    for make in (Saliency, *strict, METHODS["GradCAM of a layer"], METHODS["ExtremalPerturbation"]):
        make(model).attribute(images(), target=1)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("no_grad", r"no_grad\(\) is on where its layer 'body'"),
        ("inference_mode", r"inference_mode\(\) is on where its layer 'body'"),
        ("detach", "NumPy"),
        ("rounded", "rounded"),
    ],
)
def test_the_cause_is_named(reason: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        Saliency(Net(CLOSED[reason])).attribute(images(), target=1)


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def test_a_layer_that_passes_no_gradient_on_is_named_for_classes_and_channels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Detached(), nn.ReLU(), nn.Flatten(), nn.Linear(400, 5))
    for make in (Saliency, SmoothGrad, GuidedBackprop, Deconvnet, ExcitationBackprop, METHODS["ExtremalPerturbation"]):
        cases: list[tuple[str | None, dict[str, Any]]] = [(None, {"target": 1}), ("2", {"channel": 1})]
        for layer, what in cases:
            method = make(model)
            method.layer = layer
            with pytest.raises(ValueError, match="its layer '1', a Detached, passes none on"):
                method.attribute(images(), **what)
    with pytest.raises(ValueError, match="layer '2' of Sequential"):
        filter_heatmaps(GuidedBackprop(model), images(), [[("2", 0)], [("2", 1)]])
    Saliency(model, "0").attribute(images(), channel=1)
    UpsampledActivation(model, "2").attribute(images(), channel=1)


def test_a_quantised_layer_is_named() -> None:
    torch.backends.quantized.engine = next(e for e in torch.backends.quantized.supported_engines if e != "none")
    model = torch.ao.quantization.quantize_dynamic(Net(as_features(torch.clone)), {nn.Linear}, dtype=torch.qint8)
    for make in METHODS.values():
        with pytest.raises(ValueError, match="its layer 'head', a quantised Linear"):
            make(model).attribute(images(), target=1)


def test_optimised_torchscript_and_parameters_of_inference_mode_are_refused() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 5)).eval()
    with pytest.warns(FutureWarning, match="jit"):
        script = torch.jit.optimize_for_inference(torch.jit.script(plain))
    pixels = images().requires_grad_()
    with pytest.raises(ValueError, match="TorchScript"):
        check_gradient(script(pixels), pixels, nn.Sequential(script))
    with torch.inference_mode():
        made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 5))
    with pytest.raises(ValueError, match=r"made in torch.inference_mode.*Occlusion"), differentiating(made):
        made(pixels)
    with pytest.raises(RuntimeError, match="another"), differentiating(made):
        raise RuntimeError("another")


def test_a_backward_pass_that_gives_none_is_refused() -> None:
    model = Net(as_features(GivingNone.apply))
    for make in (Saliency, SmoothGrad, METHODS["GradCAM of a layer"]):
        with pytest.raises(ValueError, match="No gradient leads"):
            make(model).attribute(images(), target=1)


def test_leads_to_inputs_changed_in_place() -> None:
    leaf = torch.ones(2, requires_grad=True)
    inputs = leaf.clone()
    output = inputs.mul_(2) + 1
    assert leads_to(output, inputs)
    assert leads_to(output, leaf)
    assert not leads_to(leaf * 1, inputs)
    check_gradient(output, leaf, nn.Identity())
