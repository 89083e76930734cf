"""The parts that perturbing methods share, and what holds for all of these methods."""

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution.base import Method
from vitrine.attribution.perturbation.extremal_perturbation import ExtremalPerturbation
from vitrine.attribution.perturbation.meaningful_perturbation import MeaningfulPerturbation
from vitrine.attribution.perturbation.rise import RISE

DOUBLE = torch.zeros(0, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


Maker = Callable[..., Method]


def rise(model: nn.Module, layer: str | None = None, **options: Any) -> Method:
    return RISE(model, layer, n_samples=30, grid=3, **options)


def meaningful(model: nn.Module, layer: str | None = None, **options: Any) -> Method:
    return MeaningfulPerturbation(model, layer, iterations=6, grid=5, blur=3.0, mask_blur=1.0, **options)


def extremal(model: nn.Module, layer: str | None = None, **options: Any) -> Method:
    options |= {"iterations": 6, "step": 3, "sigma": 5.0, "blur": 4.0, "area_weight": 5.0}
    return ExtremalPerturbation(model, layer, (0.1, 0.3), "dual", **options)


makers = pytest.mark.parametrize("maker", [rise, meaningful, extremal])


def small_net() -> nn.Sequential:
    """In float64 and training mode, with gradients, batch norm, dropout and inplace operators."""
    head = nn.Linear(8, 5)
    head.weight.data.mul_(10)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3),
        nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), head,
    ).double()  # fmt: skip
    net(images(2)).sum().backward()
    net[3].eval()
    net[4].weight.requires_grad_(False)  # noqa: FBT003
    return net


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 11, 14, dtype=torch.float64)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Everything that could be seen of the model, and the random state, are afterwards as before."""
    before, state, inference = _seen(model), torch.get_rng_state(), torch.is_inference_mode_enabled()
    yield
    after = _seen(model)
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = torch.equal(value, after[name]) if isinstance(value, Tensor) else value == after[name]
        assert same, name
    assert torch.equal(state, torch.get_rng_state())
    assert inference == torch.is_inference_mode_enabled()


def _seen(model: nn.Module) -> dict[str, Any]:
    recorded: dict[str, Any] = dict(copy.deepcopy(model.state_dict()))
    for name, module in model.named_modules():
        recorded[f"{name} mode"] = module.training
        recorded[f"{name} hooks"] = (len(module._forward_hooks), len(module._forward_pre_hooks))
    for name, parameter in model.named_parameters():
        recorded[f"{name} requires_grad"] = parameter.requires_grad
        recorded[f"{name} grad"] = None if parameter.grad is None else parameter.grad.clone()
    return recorded


@makers
def test_one_by_one_equals_the_batch(maker: Maker) -> None:
    model, inputs, targets = small_net(), images(3), torch.tensor([4, 0, 2])
    maps = maker(model).attribute(inputs, targets)
    assert maps.shape == (3, 1, 11, 14)
    for index in range(3):
        alone = maker(model).attribute(inputs[index : index + 1], targets[index : index + 1])
        torch.testing.assert_close(maps[index : index + 1], alone, rtol=1e-8, atol=1e-8)
    assert (maps[0] - maps[1]).abs().max() > 1e-3


@makers
def test_several_targets_equal_as_many_calls(maker: Maker) -> None:
    model, inputs, targets = small_net(), images(2), torch.tensor([[1, 4, 1], [0, 2, 3]])
    maps = maker(model).attribute(inputs, targets)
    assert maps.shape == (2, 3, 1, 11, 14)
    for column in range(3):
        alone = maker(model).attribute(inputs, targets[:, column])
        torch.testing.assert_close(maps[:, column], alone, rtol=1e-8, atol=1e-8)


@makers
@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_the_internal_batch_size_bounds_the_passes_and_changes_nothing(maker: Maker, size: int) -> None:
    model, inputs, targets = small_net(), images(3), torch.tensor([[1, 4], [0, 2], [3, 3]])
    expected = maker(model).attribute(inputs, targets)
    recorded: list[int] = []
    model[0].register_forward_pre_hook(lambda _module, args: recorded.append(len(args[0])))
    maps = maker(model, internal_batch_size=size).attribute(inputs, targets)
    torch.testing.assert_close(maps, expected, rtol=1e-8, atol=1e-8)
    assert max(recorded) <= size


@makers
def test_channels_are_explained_by_their_mean_activation(maker: Maker) -> None:
    model, inputs = small_net(), images(2)
    maps = maker(model, layer="4").attribute(inputs, channel=torch.tensor([[3, 7], [0, 5]]))
    assert maps.shape == (2, 2, 1, 11, 14)
    means = nn.Sequential(*list(model)[:5], nn.AdaptiveAvgPool2d(1))
    for column, channels in enumerate(([3, 0], [7, 5])):
        torch.testing.assert_close(maps[:, column], maker(means, layer="5").attribute(inputs, channel=channels))


@makers
def test_the_predicted_class_is_that_of_the_whole_input(maker: Maker) -> None:
    model, inputs = small_net(), images(3)
    predicted = model.eval()(inputs).argmax(dim=1)
    torch.testing.assert_close(maker(model).attribute(inputs), maker(model).attribute(inputs, predicted))
    bounded = maker(model, internal_batch_size=2).attribute(inputs)
    torch.testing.assert_close(bounded, maker(model).attribute(inputs, predicted))


@makers
def test_the_same_again_whatever_the_random_state(maker: Maker) -> None:
    model, inputs = small_net(), images(2)
    method = maker(model)
    first = method.attribute(inputs)
    torch.manual_seed(123)
    assert torch.equal(first, method.attribute(inputs))


@makers
def test_the_model_the_inputs_and_the_random_state_are_left_as_they_were(maker: Maker) -> None:
    model, inputs = small_net(), images(2)
    given_inputs = inputs.clone()
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode(), unchanged(model):
            maps = maker(model, layer="4").attribute(inputs)
            maker(model, layer="4").attribute(inputs, channel=2)
        assert not maps.requires_grad
        assert not maps.is_inference()
    assert torch.equal(inputs, given_inputs)


@makers
@pytest.mark.parametrize("calls", [1, 4])
def test_all_is_left_as_it_was_after_an_error(maker: Maker, calls: int) -> None:
    model, inputs, recorded = small_net(), images(2), []

    def fail(*_: object) -> None:
        recorded.append(1)
        if len(recorded) >= calls:
            raise RuntimeError("out of order")

    model[6].register_forward_hook(fail)
    with unchanged(model), pytest.raises(RuntimeError, match="out of order"):
        maker(model, layer="4", internal_batch_size=2).attribute(inputs, channel=1)


@makers
def test_gradients_in_the_inputs_are_not_asked_for(maker: Maker) -> None:
    model, inputs = small_net(), images(1).requires_grad_()
    maker(model).attribute(inputs)
    assert inputs.grad is None


@makers
def test_an_empty_batch_has_no_maps(maker: Maker) -> None:
    assert maker(small_net()).attribute(images(0)).shape == (0, 1, 11, 14)
    empty = torch.zeros(0, 3, dtype=torch.long)
    assert maker(small_net(), internal_batch_size=2).attribute(images(0), empty).shape == (0, 3, 1, 11, 14)


@makers
def test_halves_are_accumulated_in_float32(maker: Maker) -> None:
    model = small_net().bfloat16()
    maps = maker(model).attribute(images(1).bfloat16())
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()


@makers
def test_masks_keep_their_precision_under_autocast(maker: Maker) -> None:
    class OwnPrecision(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                logits: Tensor = net(inputs)
            return logits

    net, inputs = small_net().float(), images(2).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = maker(OwnPrecision()).attribute(inputs, 1)
    torch.testing.assert_close(within, maker(OwnPrecision()).attribute(inputs, 1))
    recorded: list[torch.dtype] = []
    net[4].register_forward_hook(lambda _module, _args, output: recorded.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = maker(net).attribute(inputs, 1)
    assert set(recorded) == {torch.bfloat16}
    assert maps.dtype == torch.float32


@makers
def test_a_class_or_channel_out_of_range_is_named(maker: Maker) -> None:
    with pytest.raises(ValueError, match="target 5 is out of range"):
        maker(small_net()).attribute(images(1), 5)
    with pytest.raises(ValueError, match="channel 8 is out of range"):
        maker(small_net(), layer="4").attribute(images(1), channel=8)


@makers
def test_a_progress_bar_counts_to_its_end(maker: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    maker(small_net(), progress=True, internal_batch_size=2).attribute(images(3), 1)
    written = capsys.readouterr()
    assert written.out == ""
    done, total = re.findall(r"(\d+)/(\d+)", written.err)[-1]
    assert int(done) == int(total) > 0
