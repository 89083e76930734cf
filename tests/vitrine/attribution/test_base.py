"""The base class of methods: batches, renamed options, ranges that all methods share, and targets."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine.attribution import RISE, Center, GradCAM, Method, SmoothGrad, UpsampledActivation
from vitrine.attribution.base import batch_slices
from vitrine.attribution.registry import all_methods
from vitrine.attribution.targets import Target
from vitrine.core.options import Count, checked


@given(st.integers(0, 20), st.none() | st.integers(1, 25))
def test_batch_slices_cover_every_row_once(count: int, size: int | None) -> None:
    rows = [list(range(count))[part] for part in batch_slices(count, size)]
    assert [row for some in rows for row in some] == list(range(count))
    assert all(len(some) <= (size or count) for some in rows)
    assert rows


@pytest.mark.parametrize(("method", "old"), [(RISE, "masks"), (SmoothGrad, "samples")])
def test_a_renamed_option_is_refused_with_its_name_of_today(method: Any, old: str) -> None:
    with pytest.raises(ValueError, match=f"{method.__name__} has no option '{old}'.*'n_samples'"):
        method(nn.Identity(), **{old: 5})
    with pytest.raises(TypeError, match="nothing"):  # what was never an option is Python's own matter
        method(nn.Identity(), nothing=5)


def test_renamed_options_hold_for_any_method_and_its_subclasses() -> None:
    class Doubled(Center):
        RENAMED: ClassVar[Mapping[str, str]] = {"factor": "scale"}

        @checked
        def __init__(self, model: nn.Module, scale: Count = 2) -> None:
            super().__init__(model)
            self.scale = scale

    class Tripled(Doubled):
        def __init__(self, model: nn.Module, **options: Any) -> None:
            super().__init__(model, **{"scale": 3} | options)

    for method in (Doubled, Tripled):
        assert method(nn.Identity(), scale=4).scale == 4
        with pytest.raises(ValueError, match=f"{method.__name__} has no option 'factor'.*'scale'"):
            method(nn.Identity(), factor=4)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", all_methods())
@pytest.mark.parametrize("size", [0, -1, 1.5, float("nan"), True])
def test_a_batch_size_that_makes_no_sense(name: str, size: Any) -> None:
    with pytest.raises(ValueError, match=f"internal_batch_size is {size}"):
        all_methods()[name](nn.Sequential(nn.ReLU()), internal_batch_size=size)


@pytest.mark.parametrize("name", all_methods())
def test_numbers_are_finite(name: str) -> None:
    method: Any = all_methods()[name]
    annotations = method.__init__.__annotations__
    numbers = [option for option, kind in annotations.items() if getattr(kind, "__origin__", kind) in {float, int}]
    for option in numbers:
        for value in (float("nan"), float("inf"), float("-inf")):
            with pytest.raises(ValueError, match=f"{option} is {value}"):
                method(nn.Sequential(nn.ReLU()), **{option: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor([float("nan")])])
@pytest.mark.parametrize("name", ["IntegratedGradients", "Occlusion"])
def test_a_baseline_is_finite(name: str, value: float | Tensor) -> None:
    method: Any = all_methods()[name]
    with pytest.raises(ValueError, match="baseline is "):
        method(nn.Flatten(), baseline=value).attribute(torch.rand(1, 1, 16, 16))


def test_targets_and_channels_that_are_not_explained() -> None:
    model, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()), torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match="GradCAM explains classes, not channels"):
        GradCAM(model, "1").attribute(images, target=1, channel=1)
    with pytest.raises(ValueError, match="UpsampledActivation explains channels, not classes"):
        UpsampledActivation(model, "1").attribute(images)


def test_resolved_targets() -> None:
    output = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    assert Target(None).resolve(output).tolist() == [[1], [0]]
    assert Target(torch.tensor(2)).resolve(output).tolist() == [[2], [2]]
    assert Target(torch.tensor([2, 0])).resolve(output).tolist() == [[2], [0]]
    several = Target(torch.tensor([[2, 0], [1, 1]]))
    assert several.resolve(output).tolist() == [[2, 0], [1, 1]]
    assert several.select(slice(1, 2)).resolve(output[1:]).tolist() == [[1, 1]]
    assert (several.num_maps, several.is_multiple) == (2, True)
    assert (Target(None).num_maps, Target(torch.tensor([1])).is_multiple) == (1, False)
    for wrong, layer, name in ((3, None, "target"), (-1, "a", "channel")):
        with pytest.raises(ValueError, match=f"{name} {wrong} is out of range"):
            Target(torch.tensor(wrong), layer).resolve(output)


@pytest.mark.parametrize("name", [name for name in all_methods() if not name.startswith("Attention")])
def test_a_first_operator_in_place_changes_no_map(name: str) -> None:
    kind: type[Method] = all_methods()[name]
    torch.manual_seed(0)
    body = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3), nn.ReLU())
    model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    build: Any = kind
    method = build(model, None if kind.explains_classes else "0.1", **kind.quick_options)
    images, maps = torch.randn(2, 3, 8, 8), []
    for inplace in (True, False):
        vars(body[0])["inplace"] = inplace
        maps.append(method.attribute(images, channel=None if kind.explains_classes else 1))
    torch.testing.assert_close(maps[0], maps[1])
