"""The cascade of re-initialised layers: their order, their new weights, and all that stays."""

import copy
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.helpers.sanity_models import FROM_TOP, Gradient
from vitrine.attribution.sanity import randomized, sanity_check
from vitrine.attribution.sanity.cascade import evenly_spaced, layers_from_top, reinitialise


def test_layers_stand_in_the_reverse_order_of_their_use(network: nn.Module, images: Tensor) -> None:
    assert layers_from_top(network, images) == FROM_TOP
    assert [name for name, _ in randomized(network, images)] == [name or "Tangled" for name in FROM_TOP]


def test_the_order_is_that_of_hooks_where_modules_are_called_once(images: Tensor) -> None:
    """An attention block: its output projection is never called as a module, and yet used."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(49, 7, 12, batch_first=True)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(2), layer, nn.Flatten(), nn.Linear(8 * 49, 3)).eval()
    called: list[str] = []
    twin = copy.deepcopy(model)
    for name, module in twin.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    with torch.enable_grad():  # the layer would otherwise run as one fused operator
        twin(images)
    actual = layers_from_top(model, images)
    assert "2.self_attn.out_proj" not in called
    assert actual.index("2.self_attn.out_proj") == actual.index("2.self_attn") - 1
    assert [name for name in actual if name != "2.self_attn.out_proj"] == called[::-1]


def test_each_stage_re_draws_one_more_layer_and_nothing_else(network: nn.Module, images: Tensor) -> None:
    original = network.state_dict()
    stages = [stage.state_dict() for _, stage in randomized(network, images, seed=3)]
    for before, after, layer in zip([original, *stages], stages, FROM_TOP, strict=False):
        its_own = {name for name in original if name.rpartition(".")[0] == layer} - {"table"}
        changed = {name for name in original if not torch.equal(before[name], after[name])}
        assert changed
        assert changed == its_own - {"norm.num_batches_tracked", "last_norm.num_batches_tracked"}
    assert torch.equal(stages[-1]["auxiliary.weight"], original["auxiliary.weight"])


def test_re_drawn_layers_are_those_of_a_new_network(network: nn.Module, images: Tensor) -> None:
    *_, (_, last) = randomized(network, images)
    for norm in (last.get_submodule("norm"), last.get_submodule("last_norm")):
        torch.testing.assert_close(
            norm.eval()(images.repeat(1, 2, 1, 1)), images.repeat(1, 2, 1, 1), rtol=1e-4, atol=1e-4
        )
    assert float(last.get_parameter("stem.weight").detach().abs().max()) <= 27**-0.5  # PyTorch's own bound, 1 / √fan-in


def test_parameters_without_a_reset_keep_their_mean_and_spread() -> None:
    layer = nn.ParameterDict({"a": nn.Parameter(torch.randn(50_000) * 3 + 2), "b": nn.Parameter(torch.ones(7))})
    before = layer["a"].detach().clone()
    torch.manual_seed(0)
    reinitialise(layer)
    assert abs(float(torch.corrcoef(torch.stack([before, layer["a"].detach()]))[0, 1])) < 0.02
    assert float(layer["a"].detach().mean()) == pytest.approx(2, abs=0.05)
    assert float(layer["a"].detach().std()) == pytest.approx(3, abs=0.05)
    assert torch.equal(layer["b"], torch.ones(7))


def test_a_reparametrised_weight_is_re_drawn(images: Tensor) -> None:
    """Its ``reset_parameters`` would change a temporary tensor alone."""
    torch.manual_seed(0)
    layer: Any = parametrizations.weight_norm(nn.Linear(243, 3))
    *_, (_, last) = randomized(nn.Sequential(nn.Flatten(), layer), images)
    reinitialised: Any = last.get_submodule("1")
    weights = torch.stack([layer.weight.detach().flatten(), reinitialised.weight.detach().flatten()])
    assert abs(float(torch.corrcoef(weights)[0, 1])) < 0.15


def test_fewer_stages_are_a_choice_of_all_of_them(network: nn.Module, images: Tensor) -> None:
    every = list(randomized(network, images, seed=1))
    for stages, positions in ((1, [6]), (2, [0, 6]), (3, [0, 3, 6]), (99, list(range(7)))):
        actual = list(randomized(network, images, seed=1, stages=stages))
        assert [name for name, _ in actual] == [every[position][0] for position in positions]
        for (_, stage), position in zip(actual, positions, strict=True):
            assert_same(stage, every[position][1].state_dict())


@given(st.integers(1, 200), st.integers(2, 50))
def test_stages_are_spread_evenly_from_the_first_to_the_last(count: int, stages: int) -> None:
    positions = evenly_spaced(count, stages)
    assert (positions[0], positions[-1], len(positions)) == (0, count - 1, min(count, stages))
    steps = {later - earlier for earlier, later in itertools.pairwise(positions)}
    assert not steps or max(steps) - min(steps) <= 1


def test_a_seed_is_one_cascade_and_another_seed_another(network: nn.Module, images: Tensor) -> None:
    first, again, other = ([stage.state_dict() for _, stage in randomized(network, images, seed)] for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for a, b in zip(first, again, strict=True) for name in a)
    # Not shifted by a layer either, as seeds drawn one after another would be.
    for layer, later in (("head.weight", "head.weight"), ("shared.weight", "functional.weight")):
        assert not torch.equal(first[-1][layer].flatten()[:6], other[-1][later].flatten()[:6])


def test_the_model_and_the_random_state_stay_as_they_were(network: nn.Module, images: Tensor) -> None:
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    network.get_parameter("head.weight").grad = gradient = torch.ones(4, 6)
    for _, stage in randomized(network, images):
        assert torch.equal(torch.get_rng_state(), random)  # also while the caller has a stage in hand
        assert [module.training for module in stage.modules()] == [module.training for module in network.modules()]
    sanity_check(Gradient, network, images)
    assert_same(network, state)
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.get_parameter("head.weight").grad is gradient
    assert torch.equal(gradient, torch.ones(4, 6))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random)


def assert_same(model: nn.Module, state: dict[str, Tensor]) -> None:
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "stages", "message"),
    [(nn.Flatten(), None, "Flatten uses no parameters"), (nn.Linear(9, 2), 0, "stages is 0; give 1 or more")],
)
def test_what_cannot_be_re_drawn_is_said(model: nn.Module, stages: int | None, message: str, images: Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        list(randomized(model, images, stages=stages))
