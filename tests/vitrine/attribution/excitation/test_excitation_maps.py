"""`excitation_maps`: several outputs of a function by one forward pass, with auxiliary data, and its memory."""

import gc
import re
import weakref
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.excitation_models import small_net
from vitrine.attribution import ExcitationBackprop, excitation_maps
from vitrine.attribution.autograd.interception import backward_of


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_one_forward_serves_all_indices() -> None:
    model, x, calls = small_net().eval(), torch.rand(2, 3, 8, 8), []

    def forward(images: Tensor) -> Tensor:
        calls.append(images.shape)
        output: Tensor = model(images)
        return output

    indices = torch.tensor([[0, 3, 3], [1, 0, 2]])
    for contrastive in (False, True):
        calls.clear()
        maps, output = excitation_maps(forward, x, indices, contrastive=contrastive)
        assert len(calls) == 1
        torch.testing.assert_close(output, model(x).detach())
        assert not output.requires_grad
        method = ExcitationBackprop(model, contrastive=contrastive)
        for k in range(3):
            torch.testing.assert_close(maps[:, k : k + 1], method.attribute(x, indices[:, k]))
    assert excitation_maps(model, x, indices[:, :0], contrastive=False)[0].shape == (2, 0, 8, 8)


def test_weights_and_sums_are_made_once_for_all_indices() -> None:
    model, x = small_net().eval(), torch.rand(1, 3, 8, 8)

    def counts(indices: int) -> tuple[int, int]:
        with torch.autograd.profiler.profile() as profile:
            excitation_maps(model, x, torch.arange(indices)[None], contrastive=False)
        calls = {row.key: row.count for row in profile.key_averages()}
        return calls["aten::convolution"], calls["aten::clamp"]

    assert counts(1)[0] == 4  # two layers: each its value and its sum
    assert counts(4) == counts(1)


def test_a_standardised_weight_is_a_constant() -> None:
    weight = nn.Parameter(torch.randn(4, 12))

    def forward(images: Tensor) -> Tensor:
        return F.linear(images.flatten(1), (weight - weight.mean()) / weight.std())

    x, indices = torch.rand(1, 3, 2, 2), torch.arange(4)[None]
    maps, _ = excitation_maps(forward, x, indices, contrastive=True)
    fixed = ((weight - weight.mean()) / weight.std()).detach()
    expected, _ = excitation_maps(lambda images: F.linear(images.flatten(1), fixed), x, indices, contrastive=True)
    torch.testing.assert_close(maps, expected)
    assert weight.grad is None


def test_the_graph_is_freed() -> None:
    convs = [nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)]
    shares = []

    def forward(images: Tensor) -> Tensor:
        x = convs[0](images)
        for _ in range(2):  # each operator changes what an earlier one has read
            shares.append(weakref.ref(backward_of(x.grad_fn)))
            x += convs[1](x) * 2
            x += x.mean((2, 3), keepdim=True)
            F.hardtanh(x, 0, 6, inplace=True)
        shares.append(weakref.ref(backward_of(x.grad_fn)))
        return x.flatten(1)

    excitation_maps(forward, torch.rand(1, 2, 2, 2), torch.tensor([[0, 1]]), contrastive=True)
    gc.collect()
    assert [share() for share in shares] == [None] * 3


def test_indices_and_shapes_that_do_not_fit_are_named() -> None:
    model, x = small_net().eval(), torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="target 9 is out of range"):
        excitation_maps(model, x, torch.full((2, 1), 9), contrastive=False)
    with pytest.raises(ValueError, match=re.escape("got (2, 4) and (1, 3)")):
        excitation_maps(model, x, torch.zeros(1, 3, dtype=torch.long), contrastive=False)
    with pytest.raises(ValueError, match=re.escape("inputs must be (B, C, H, W), got (3, 8, 8)")):
        ExcitationBackprop(model).attribute(x[0], 0)
    with pytest.raises(ValueError, match="no layer '11'"):
        ExcitationBackprop(model, "11")


class Aux(NamedTuple):
    """Auxiliary data of any kind."""

    hidden: Tensor
    size: int


@pytest.mark.parametrize("contrastive", [False, True])
def test_auxiliary_data_is_returned_and_changes_nothing(contrastive: bool) -> None:
    model, x, indices = small_net().eval(), torch.rand(2, 3, 8, 8), torch.tensor([[0, 3], [1, 2]])

    def forward(images: Tensor) -> tuple[Tensor, Aux]:
        hidden = model[:4](images)
        return model[4:](hidden), Aux(hidden.detach().clone(), len(images))

    maps, output, aux = excitation_maps(forward, x, indices, contrastive=contrastive, has_aux=True)
    expected_maps, expected_output = excitation_maps(model, x, indices, contrastive=contrastive)
    assert torch.equal(maps, expected_maps)
    assert torch.equal(output, expected_output)
    assert aux.size == 2
    torch.testing.assert_close(aux.hidden, model[:4](x).detach())
