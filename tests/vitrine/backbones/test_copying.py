import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from vitrine.attribution import GradCAM
from vitrine.backbones.copying import copied_network, weight_digest
from vitrine.backbones.frozen import FrozenBackbone

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, 2, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(images).relu()).relu().mean(dim=(2, 3)))
        return logits


class WithExtraState(Network):
    def get_extra_state(self) -> dict[str, Any]:
        return {"version": 3, "scales": torch.ones(2)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        pass


def plain(network: Network) -> Network:
    return network


def pruned(network: Network) -> Network:
    prune.l1_unstructured(network.second, "weight", 0.5)
    return network


def weight_normed(network: Network) -> Network:
    torch.nn.utils.weight_norm(network.second)
    return network


def parametrized(network: Network) -> Network:
    parametrizations.weight_norm(network.second)
    return network


def spectral_normed(network: Network) -> Network:
    torch.nn.utils.spectral_norm(network.second)
    network(IMAGES)
    return network


def with_kept_activations(network: Network) -> Network:
    kept: list[Tensor] = []
    network.second.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    network.__dict__["kept"] = kept
    network(IMAGES)
    return network


def with_kept_dictionary(network: Network) -> Network:
    network.__dict__["cache"] = {"logits": [network(IMAGES)]}
    return network


def with_a_lock(network: Network) -> Network:
    network.__dict__["lock"] = threading.Lock()
    network.second.__dict__["owner"] = {"thread": threading.current_thread(), "lock": threading.RLock()}
    return network


def with_a_generator(network: Network) -> Network:
    network.__dict__["steps"] = iter(range(3))
    network.__dict__["stream"] = (step for step in range(3))
    return network


def with_a_sparse_buffer(network: Network) -> Network:
    network.register_buffer("sparse", torch.eye(4).to_sparse())
    return network


def with_a_half_buffer(network: Network) -> Network:
    network.register_buffer("narrow", torch.ones(3, dtype=torch.bfloat16))
    return network


def shared(network: Network) -> Network:
    network.third = network.second
    return network


KINDS: list[Callable[[Network], nn.Module]] = [
    plain,
    pruned,
    weight_normed,
    parametrized,
    spectral_normed,
    with_kept_activations,
    with_kept_dictionary,
    with_a_lock,
    with_a_generator,
    with_a_sparse_buffer,
    with_a_half_buffer,
    shared,
]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_all_kinds_are_copied_and_explained(kind: Callable[[Network], nn.Module]) -> None:
    network = kind(Network()).eval()
    backbone = FrozenBackbone(network)
    torch.testing.assert_close(backbone(IMAGES).logits, network(IMAGES))
    torch.testing.assert_close(
        GradCAM(backbone.model, "second").attribute(IMAGES, 1), GradCAM(network, "second").attribute(IMAGES, 1)
    )
    with torch.no_grad():
        before = backbone(IMAGES).logits
        for parameter in network.parameters():
            parameter.zero_()
    torch.testing.assert_close(backbone(IMAGES).logits, before)


def test_other_kinds_of_state_count_in_the_digest() -> None:
    states: list[dict[str, Any]] = [
        {"a": torch.ones(2)},
        {"a": torch.ones(2), "b": {"version": 3}},
        {"a": torch.ones(2), "b": {"version": 4}},
        {"a": torch.ones(2), "b": {"version": 3, "scales": torch.ones(2)}},
        {"a": torch.ones(2), "b": {"version": 3, "scales": torch.zeros(2)}},
        {"a": torch.ones(2), "b": ("per tensor", torch.qint8, None)},
        {"a": torch.ones(2), "b": ("per tensor", torch.quint8, None)},
        {"a": torch.eye(2).to_sparse()},
    ]
    assert len({weight_digest(state) for state in states}) == 8


def test_extra_state_is_part_of_the_digest_and_the_copy_works() -> None:
    backbone = FrozenBackbone(WithExtraState())
    assert backbone.digest != FrozenBackbone(Network()).digest
    torch.testing.assert_close(backbone(IMAGES).logits, Network()(IMAGES))


def test_a_second_name_of_a_shared_layer_is_a_layer() -> None:
    network = shared(Network())
    backbone = FrozenBackbone(network)
    taps = backbone(IMAGES, ["second", "third"]).taps
    assert torch.equal(taps["second"], taps["third"])
    expected = GradCAM(network, "second").attribute(IMAGES, 1)
    torch.testing.assert_close(GradCAM(network, "third").attribute(IMAGES, 1), expected)


def test_networks_without_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"'first\.weight' has no values"):
        copied_network(Network().to("meta"))
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(ValueError, match=r"'1\.weight' has no values"):
        FrozenBackbone(lazy)
