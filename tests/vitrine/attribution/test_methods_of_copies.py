"""What holds for Saliency and the methods of copies: batches, targets, channels, bounds, and a model left as it was."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution.base import Method
from vitrine.attribution.gradient.integrated_gradients import IntegratedGradients
from vitrine.attribution.gradient.saliency import Saliency
from vitrine.attribution.gradient.smooth_grad import SmoothGrad
from vitrine.attribution.perturbation.occlusion import Occlusion

SMALL: dict[type[Method], dict[str, Any]] = {
    Saliency: {"absolute": False},
    IntegratedGradients: {"steps": 5, "baseline": 0.3},
    SmoothGrad: {"n_samples": 5, "absolute": False},
    Occlusion: {"window": (3, 4), "stride": 2},
}
"""Options that make each a matter of milliseconds."""

METHODS = pytest.mark.parametrize("method", SMALL, ids=lambda method: method.__name__)


def small_net() -> nn.Sequential:
    """Works in place on its input, and has what the glass must keep: a mode, a grad, a frozen parameter, statistics."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6)
    nn.init.normal_(norm.bias)
    norm.load_state_dict({"running_mean": torch.randn(6)}, strict=False)
    features = [nn.ReLU(inplace=True), nn.Conv2d(3, 6, 3), norm, nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout()]
    model = nn.Sequential(*features, nn.Conv2d(6, 4, 2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 5))
    model[3].eval()
    model[1].bias.requires_grad = False
    model[1].weight.grad = torch.ones(6, 3, 3, 3)
    return model


def build(method: type[Method], model: nn.Module, layer: str | None = None, **options: Any) -> Method:
    return method(model, layer, **SMALL[method], **options)


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def snapshot(model: nn.Module) -> list[Any]:
    """All that a model is, in a form that can be compared."""
    tensors = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
    parameters = [
        (id(p), p.requires_grad, id(p.grad), None if p.grad is None else p.grad.tolist(), p._version, p.data_ptr())
        for p in model.parameters()
    ]
    modules = [
        {name: len(value) if "_hooks" in name else repr(value) for name, value in vars(module).items()}
        for module in model.modules()
    ]
    return [tensors, parameters, modules, torch.get_rng_state().tolist()]


@METHODS
@pytest.mark.parametrize("layer", [None, "6"])
def test_model_and_random_state_are_as_before(method: type[Method], layer: str | None) -> None:
    model, x = small_net(), images()
    saved = x.clone()
    before = snapshot(model)
    explainer = build(method, model, layer)
    for _ in range(2):
        explainer.attribute(x, **dict[str, Any]({"target": 1} if layer is None else {"channel": 1}))
    assert snapshot(model) == before
    assert torch.equal(x, saved)
    assert not x.requires_grad


def failing_at(model: nn.Sequential, call: int) -> list[int]:
    """Makes the model, and copies of it, raise from one of its calls on; gives the list of calls."""
    calls: list[int] = []

    def fail(_module: nn.Module, _inputs: Any) -> None:
        calls.append(len(calls))
        if 0 < call <= len(calls):
            raise RuntimeError("within")

    model[5].register_forward_pre_hook(fail)
    return calls


@METHODS
@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_model_is_as_before_an_error_within_it(method: type[Method], share: float) -> None:
    calls = failing_at(model := small_net(), -1)
    build(method, model).attribute(images(), 0)
    failing_at(model := small_net(), 1 + round(share * (len(calls) - 1)))
    explainer = build(method, model)
    before = snapshot(model)
    with pytest.raises((RuntimeError, ValueError), match="within"):
        explainer.attribute(images(), 0)
    assert snapshot(model) == before


@METHODS
def test_an_open_graph_of_the_callers_can_still_be_sent_back(method: type[Method]) -> None:
    model = small_net().eval()
    loss = model(images()).sum()
    build(method, model).attribute(images(), 0)
    loss.backward()


@METHODS
@pytest.mark.parametrize("layer", [None, "6", "7"])
def test_batched_equals_one_by_one_and_any_bound(method: type[Method], layer: str | None) -> None:
    model, x = small_net(), images(4)
    name = "target" if layer is None else "channel"
    indices = torch.tensor([[0, 3], [1, 1], [3, 2], [2, 0]])
    whole = build(method, model, layer).attribute(x, **dict[str, Any]({name: indices}))
    assert whole.shape == (4, 2, 1 if method is Occlusion else 3, 8, 8)
    assert whole.abs().max() > 0
    for row in range(4):
        for k in range(2):
            one = build(method, model, layer).attribute(
                x[row : row + 1], **dict[str, Any]({name: int(indices[row, k])})
            )
            torch.testing.assert_close(whole[row, k], one[0])
    for bound in (1, 2, 3, 1000):
        bounded = build(method, model, layer, internal_batch_size=bound).attribute(x, **dict[str, Any]({name: indices}))
        torch.testing.assert_close(bounded, whole)


@METHODS
@pytest.mark.parametrize("bound", [1, 3])
def test_internal_batch_size_bounds_what_goes_through_the_model(method: type[Method], bound: int) -> None:
    model, recorded = small_net(), []
    model.register_forward_pre_hook(lambda _, args: recorded.append(len(args[0])))
    build(method, model, internal_batch_size=bound).attribute(images(4), 0)
    assert max(recorded) <= bound


@METHODS
def test_the_predicted_class_is_explained_without_a_target(method: type[Method]) -> None:
    model = small_net()
    predicted = model.eval()(images()).argmax(dim=1)
    actual = build(method, model).attribute(images())
    torch.testing.assert_close(actual, build(method, model).attribute(images(), predicted), rtol=0, atol=0)


@METHODS
def test_a_channel_of_the_last_layer_is_a_class(method: type[Method]) -> None:
    model = small_net()
    actual = build(method, model, "9").attribute(images(), channel=2)
    torch.testing.assert_close(actual, build(method, model).attribute(images(), 2), rtol=0, atol=0)


@METHODS
def test_a_channel_is_its_sum_over_space(method: type[Method]) -> None:
    model = small_net()
    # the same network up to the layer, whose channels' sums are its classes
    head = nn.Sequential(*list(model)[:7], nn.AvgPool2d(2, divisor_override=1), nn.Flatten())
    actual = build(method, model, "6").attribute(images(), channel=2)
    torch.testing.assert_close(actual, build(method, head).attribute(images(), 2))


@METHODS
def test_no_images_and_no_targets(method: type[Method]) -> None:
    explainer, channels = build(method, small_net()), 1 if method is Occlusion else 3
    assert explainer.attribute(images()[:0], 1).shape == (0, channels, 8, 8)
    assert explainer.attribute(images(), torch.zeros(3, 0, dtype=torch.long)).shape == (3, 0, channels, 8, 8)


@METHODS
@pytest.mark.parametrize("context", [nullcontext, torch.no_grad, torch.inference_mode])
def test_runs_anywhere_without_a_warning(
    method: type[Method], context: Callable[[], AbstractContextManager[Any]]
) -> None:
    model = small_net()
    expected = build(method, model).attribute(images(), [1, 2, 3])
    with warnings.catch_warnings(), context():
        warnings.simplefilter("error")
        actual = build(method, model).attribute(images(), [1, 2, 3])
    assert not actual.requires_grad
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@METHODS
def test_a_class_or_channel_that_does_not_exist(method: type[Method]) -> None:
    with pytest.raises(ValueError, match=r"target 5 is out of range: .* 0 to 4"):
        build(method, small_net()).attribute(images(), [0, 5, 1])
    with pytest.raises(ValueError, match=r"channel 4 is out of range: .* 0 to 3"):
        build(method, small_net(), "6").attribute(images(), channel=4)


@pytest.mark.parametrize(("method", "count"), [(IntegratedGradients, 5), (SmoothGrad, 5), (Occlusion, 12)])
def test_batches_are_full_whatever_the_number_of_copies(method: type[Method], count: int) -> None:
    model, sizes = small_net(), list[int]()
    build(method, model).attribute(images())  # what is found once for each model, by passes of its own
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    build(method, model, internal_batch_size=4).attribute(images(), [0, 2, 1])
    assert sum(sizes) == 3 * (count + (method is Occlusion))
    assert set(sizes[:-1]) == {4}


@pytest.mark.parametrize("method", [IntegratedGradients, Occlusion])
@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (1, 3, 8, 8), (3, 1, 1), (3, 1, 1, 1), ()])
def test_baselines_of_any_shape_that_broadcasts(method: type[Method], shape: tuple[int, ...]) -> None:
    options = {name: value for name, value in SMALL[method].items() if name != "baseline"}
    model, x, baseline = small_net(), images(), torch.rand(shape)
    actual = method(model, baseline=baseline, **options).attribute(x, 2)  # type: ignore[call-arg]
    for row in range(3):
        full = baseline.expand_as(x)[row : row + 1]
        expected = method(model, baseline=full, **options).attribute(x[row : row + 1], 2)  # type: ignore[call-arg]
        torch.testing.assert_close(actual[row : row + 1], expected)


@pytest.mark.parametrize("method", [IntegratedGradients, Occlusion])
def test_a_baseline_that_does_not_fit(method: type[Method]) -> None:
    options = SMALL[method] | {"baseline": torch.zeros(2, 3, 8, 8)}
    with pytest.raises(
        ValueError, match=r"baseline of shape \(2, 3, 8, 8\) does not fit inputs of shape \(3, 3, 8, 8\)"
    ):
        method(small_net(), **options).attribute(images(), 0)
