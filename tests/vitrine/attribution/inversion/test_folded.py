"""A network runs as a copy with folded batch norms, and nothing tells but the time that it takes."""

import copy
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vitrine.attribution.inversion import (
    InversionLayers,
    InversionResult,
    InversionSettings,
    InvertedNetwork,
    inversion_layers,
    make_problem,
    optimise,
    settings_of,
)
from vitrine.attribution.inversion.folded import FoldedCopy, folded
from vitrine.attribution.inversion.frozen_copy import FrozenNetwork
from vitrine.backbones.guard import eval_guard

NOISE = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Built(nn.Module):
    """Runs its parts by a function of them."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.run(self, images).mean(dim=(2, 3))


def settled(model: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """With batch norms that do something."""
    generator = torch.Generator().manual_seed(7)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for one, low in ((module.running_mean, -0.3), (module.running_var, 0.6), (module.weight, 0.5)):
                if one is not None:
                    one.data.uniform_(low, low + 1, generator=generator)
    return model.to(dtype).eval()


def built(run: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return settled(Built(run, **parts))


def named(name: str) -> nn.Module:
    torch.manual_seed(0)
    return settled(torchvision.models.get_model(name, num_classes=10))


def functional(net: Any, images: Tensor) -> Tensor:
    return F.hardtanh_(net.b2(net.c2(F.relu6(net.b1(net.c1(images)), inplace=True))), 0, 4)


def functional_net() -> nn.Module:
    convolutions = {
        "c1": nn.Conv2d(3, 6, 3, stride=4),
        "c2": nn.Conv2d(6, 8, 3, groups=2, padding_mode="reflect", padding=1),
    }
    return built(functional, **convolutions, b1=nn.BatchNorm2d(6), b2=nn.BatchNorm2d(8, affine=False))


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]


def same(actual: nn.Module, model: nn.Module, images: Tensor = NOISE) -> None:
    with torch.no_grad():
        torch.testing.assert_close(actual(images), model(images), rtol=1e-10, atol=1e-10)


def everything(model: nn.Module) -> list[Any]:
    """What a call must leave as it was."""
    tensors = [*model.parameters(), *model.buffers()]
    state = [(id(one), one._version, one.requires_grad, one.grad, one.detach().numpy().tobytes()) for one in tensors]
    hooks = [(module.training, len(module._forward_hooks), list(vars(module))) for module in model.modules()]
    return [state, hooks, [id(module) for module in model.modules()], torch.get_rng_state().tolist()]


def explained(model: nn.Module, variant: str) -> tuple[InversionResult, list[Tensor], InvertedNetwork]:
    settings = settings_of(variant, inversion_steps=1, class_steps=2)
    with eval_guard(model), torch.no_grad():
        layers = inversion_layers(model, NOISE[:1], mask_from=settings.mask_from)
        network = InvertedNetwork(model, layers, settings)
        objective, reading, start = make_problem(network, settings, NOISE)
        expected = [*reading.maps.layers, reading.features, reading.logits]
        with torch.enable_grad():
            weights = start.clone().requires_grad_()
            losses = [objective.inversion_loss(weights), objective.class_loss(weights)]
            expected += [*losses, *(torch.autograd.grad(loss.sum(), [weights])[0] for loss in losses)]
        return optimise(objective, start), expected, network


@pytest.mark.parametrize(
    ("make", "variant", "copied"),
    [
        (lambda: named("mobilenet_v2"), "paper", True),
        (lambda: named("mobilenet_v2"), "fine", True),
        (lambda: named("resnet18"), "paper", True),
        (lambda: named("resnet18"), "fine", True),
        (lambda: named("squeezenet1_1"), "paper", False),
        (functional_net, "released", True),
        (functional_net, "fine", True),
    ],
)
def test_masks_are_those_of_the_model_itself(
    make: Callable[[], nn.Module], variant: str, copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make()
    actual, reference, network = explained(model, variant)
    run = network.copy.of(NOISE)
    assert (run is not model) == copied
    assert norms(run) == []
    monkeypatch.setattr(FoldedCopy, "of", lambda self, _images: self.model)
    monkeypatch.setattr(FoldedCopy, "frozen", lambda self, _images: FrozenNetwork(self.model, None))
    wanted, expected, _ = explained(model, variant)
    for one, other in zip(reference, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10 * max(1.0, float(other.detach().abs().max())))
    for name in ("weights", "masks", "loss", "steps", "converged"):  # Adam makes much of the smallest slope
        torch.testing.assert_close(getattr(actual, name), getattr(wanted, name), rtol=1e-8, atol=1e-8)


def test_evidence_for_a_predictor_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = named("mobilenet_v2").requires_grad_(requires_grad=False)
    layers = InversionLayers("features", ("features.13", "features.18"))
    network = InvertedNetwork(model, layers, InversionSettings(score="logit", maps="gradient"))
    actual = network.read(NOISE, evidence=True)
    assert network.copy.of(NOISE) is not model
    monkeypatch.setattr(FoldedCopy, "of", lambda self, _images: self.model)
    for one, other in zip(actual, network.read(NOISE, evidence=True), strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def conv(channels: int = 3) -> nn.Module:
    return nn.Conv2d(channels, 3, 3, padding=1)


def read_by_numpy(net: Any, images: Tensor) -> Tensor:
    made = net.c1(images)
    return net.b2(net.c2(net.b1(made))) + torch.from_numpy(made.numpy().copy())


NOT_FOLDED: dict[str, tuple[Callable[[Any, Tensor], Tensor], Sequence[str]]] = {
    "output used twice": (lambda net, x: net.b2(net.c2(net.b1(y := net.c1(x)) + 1e-12 * y)), ["b1"]),
    "output seen by a view": (lambda net, x: net.b2(net.c2(net.b1(y := net.c1(x)) + 1e-12 * y[:, :1])), ["b1"]),
    "two norms on one output": (lambda net, x: net.b1(y := net.c1(x)) + net.b2(y) + net.c2(x), ["b1", "b2"]),
    "norm used twice": (lambda net, x: net.b1(net.c2(net.b1(net.c1(x)))) + net.b2(x), ["b1", "b2"]),
    "convolution used twice": (lambda net, x: net.b2(net.c1(net.b1(net.c1(x)))) + net.c2(x), ["b1", "b2"]),
    "output read by numpy": (read_by_numpy, ["b1"]),
    "changed between": (lambda net, x: net.b2(net.c2(net.b1(net.c1(x).relu_()))), ["b1"]),
    "a norm that never runs": (lambda net, x: net.b2(net.c2(net.c1(x))), ["b1"]),
}


@pytest.mark.parametrize("name", NOT_FOLDED)
def test_what_is_not_folded(name: str) -> None:
    run, left = NOT_FOLDED[name]
    model = built(run, c1=conv(), c2=conv(), b1=nn.BatchNorm2d(3), b2=nn.BatchNorm2d(3))
    actual = folded(model, NOISE)
    assert norms(actual) == left
    assert (actual is model) == (len(left) == 2)
    same(actual, model)


def in_turn(net: Any, images: Tensor) -> Tensor:
    return net.b2(net.c2(net.b1(net.c1(images))))


def two_in_turn(**changes: nn.Module) -> nn.Module:
    return built(in_turn, **{"c1": conv(), "c2": conv(), "b1": nn.BatchNorm2d(3), "b2": nn.BatchNorm2d(3)} | changes)


def test_statistics_of_the_batch_and_norms_of_other_kinds_are_left() -> None:
    class Own(nn.BatchNorm2d):
        pass

    model = two_in_turn(b1=nn.BatchNorm2d(3, track_running_stats=False))
    assert norms(folded(model, NOISE)) == ["b1"]
    same(folded(model, NOISE), model)
    assert norms(folded(two_in_turn(b1=Own(3)), NOISE)) == ["b1"]


@pytest.mark.parametrize("module", ["", "b1", "c2"])
def test_a_model_in_train_mode_is_not_run_at_all(module: str) -> None:
    model = two_in_turn()
    model.get_submodule(module).train()
    before = everything(model)
    assert folded(model, NOISE) is model
    assert FoldedCopy(model, []).of(NOISE) is model
    assert everything(model) == before


def test_a_model_with_hooks_is_run_itself() -> None:
    model, recorded = two_in_turn(), list[object]()
    network = FoldedCopy(model, [])
    first = network.of(NOISE)
    assert first is not model
    handle = model.get_submodule("b1").register_forward_hook(lambda *_: recorded.append(1))
    assert folded(model, NOISE) is model
    assert network.of(NOISE) is model
    handle.remove()
    assert network.of(NOISE) is first
    assert not recorded


def test_kept_layers_give_what_they_gave() -> None:
    inner = nn.Sequential(conv(), nn.ReLU(), conv())
    model = built(lambda net, x: net.b1(net.inner(x)), inner=inner, b1=nn.BatchNorm2d(3))
    assert norms(folded(model, NOISE)) == []
    assert norms(folded(model, NOISE, ["inner.0", "b1"])) == []
    assert norms(folded(model, NOISE, ["inner"])) == ["b1"]
    assert norms(folded(model, NOISE, ["inner.2"])) == ["b1"]
    network = InvertedNetwork(model, InversionLayers("b1", ("b1", "inner.0")), InversionSettings(score="logit"))
    with torch.no_grad():
        features = network.read(NOISE).features
        torch.testing.assert_close(features, model.get_submodule("b1")(inner(NOISE)), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(network.features(NOISE), features, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [nn.ReLU6, nn.Hardswish, nn.SiLU, nn.Mish, nn.Hardsigmoid])
def test_activations_run_out_of_place(kind: type[nn.Module]) -> None:
    model = built(lambda net, x: net.act(net.c1(x)), c1=conv(), act=kind(inplace=True))
    actual = folded(model, NOISE)
    assert actual is not model
    assert not actual.get_submodule("act").inplace
    assert model.get_submodule("act").inplace
    assert actual.get_submodule("c1").weight is model.get_submodule("c1").weight
    same(actual, model)
    plain = built(lambda net, x: net.act(net.c1(x)), c1=conv(), act=nn.ReLU(inplace=True))
    assert folded(plain, NOISE) is plain


NOT_THE_SAME: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "an operand that is counted on to have changed": lambda net, x: net.act(y := x + 0) + net.b1(net.c1(y)),
    "chance": lambda net, x: F.dropout(net.b1(net.c1(x)), training=True),
    "numbers that are none": lambda net, x: net.b1(net.c1(x)) / 0,
}


@pytest.mark.parametrize("name", NOT_THE_SAME)
def test_where_a_copy_would_differ_the_model_is_given(name: str) -> None:
    model = built(NOT_THE_SAME[name], c1=conv(), b1=nn.BatchNorm2d(3), act=nn.ReLU6(inplace=True))
    before = everything(model)
    assert folded(model, NOISE) is model
    assert everything(model) == before


def test_the_model_stays_as_it_was() -> None:
    model = named("mobilenet_v2")
    before = everything(model)
    actual = folded(model, NOISE, ["features.18"])
    assert everything(model) == before
    its_own = {id(one) for one in model.parameters()}
    assert id(actual.get_submodule("classifier.1").weight) in its_own
    mine = [one for one in actual.parameters() if id(one) not in its_own]
    assert len(mine) == 2 * 52
    assert not any(one.requires_grad for one in mine)
    actual.get_submodule("features.0").register_forward_hook(lambda *_: None)
    actual.register_buffer("new", torch.zeros(1))
    assert everything(model) == before


def test_the_model_stays_as_it_was_after_an_error() -> None:
    model = built(lambda net, x: net.b1(net.c1(x)) @ x, c1=conv(), b1=nn.BatchNorm2d(3))
    before = everything(model)
    with pytest.raises(RuntimeError):
        folded(model, NOISE[..., :32])
    assert everything(model) == before


def test_a_module_in_two_places_stays_one() -> None:
    act = nn.ReLU6(inplace=True)
    model = built(lambda net, x: net.two(net.b1(net.one(net.c1(x)))), c1=conv(), b1=nn.BatchNorm2d(3), one=act, two=act)
    actual = folded(model, NOISE)
    assert actual.get_submodule("one") is actual.get_submodule("two")
    same(actual, model)


def changed(model: nn.Module, how: str) -> nn.Module:
    if how == "loaded":
        model.load_state_dict({name: value * 1.5 for name, value in model.state_dict().items()})
    elif how == "moved":
        model.float().double()
    elif how == "trained":
        with torch.no_grad():
            model.get_parameter("c1.weight").mul_(2)
    elif how == "replaced":
        model.get_submodule("c2").weight = nn.Parameter(torch.randn(3, 3, 3, 3, dtype=torch.float64))
    elif how == "adapted":
        model.train()(NOISE)
        model.eval()
    return model


@pytest.mark.parametrize("how", ["loaded", "moved", "trained", "replaced", "adapted"])
def test_a_copy_is_remade_when_the_model_has_changed(how: str) -> None:
    model = two_in_turn()
    network = FoldedCopy(model, [])
    first = network.of(NOISE)
    assert network.of(NOISE[:1]) is first
    changed(model, how)
    second = network.of(NOISE)
    assert second is not first
    assert second is not model
    same(second, model)
    assert network.of(NOISE) is second


def test_of_another_type() -> None:
    model = named("mobilenet_v2")
    network = FoldedCopy(model, [])
    network.of(NOISE)
    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        model.to(dtype)
        actual = network.of(NOISE.to(dtype))
        assert norms(actual) == []
        with torch.no_grad():
            expected = model(NOISE.to(dtype))
            assert float((actual(NOISE.to(dtype)) - expected).abs().max()) <= bound * float(expected.abs().max())


def test_no_pickle_and_no_copy_holds_it() -> None:
    model = named("resnet18")
    network = InvertedNetwork(model, InversionLayers("layer4", ("layer4",)), InversionSettings(score="logit"))
    size = len(pickle.dumps(network))
    assert network.copy.of(NOISE) is not model
    assert len(pickle.dumps(network)) == size
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert other.copy.model is other.model
        assert other.copy._copy is other.model
        assert other.copy._structure is None
        assert other.copy.of(NOISE) is not other.model
        same(other.copy.of(NOISE), model)


def test_steps_may_follow_inference_mode() -> None:
    model = two_in_turn().requires_grad_(requires_grad=False)
    with torch.inference_mode():
        actual = folded(model, NOISE)
    images = NOISE.clone().requires_grad_()
    (slope,) = torch.autograd.grad(actual(images).sum(), [images])
    (expected,) = torch.autograd.grad(model(images).sum(), [images])
    torch.testing.assert_close(slope, expected, rtol=1e-10, atol=1e-10)
