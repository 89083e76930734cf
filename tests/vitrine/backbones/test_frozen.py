"""FrozenBackbone: unchanged by all that is done with it, its digest, and what reaches its outputs."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.helpers.own_network import OwnNetwork
from tests.helpers.ranks import RankPool
from vitrine.attribution import ExcitationBackprop, Saliency
from vitrine.backbones.copying import weight_digest
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.networks import build_network

NETWORKS = ["resnet18", "vgg11_bn", "densenet121", "googlenet", "mobilenet_v2", "squeezenet1_0", "convnext_tiny"]


class Snapshot:
    """All of a model that rule 'behind glass' speaks of, and the random state."""

    def __init__(self, model: nn.Module) -> None:
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.modes = {name: module.training for name, module in model.named_modules()}
        self.trainable = {name: p.requires_grad for name, p in model.named_parameters()}
        self.gradients = {name: p.grad for name, p in model.named_parameters()}
        self.hooks = self._hooks(model)
        self.rng = torch.get_rng_state()

    @staticmethod
    def _hooks(model: nn.Module) -> dict[str, int]:
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return {name: sum(len(getattr(m, kind)) for kind in kinds) for name, m in model.named_modules()}

    def assert_unchanged(self, model: nn.Module) -> None:
        """Fails on the first difference."""
        now = Snapshot(model)
        assert now.modes == self.modes
        assert now.trainable == self.trainable
        assert now.gradients == self.gradients
        assert now.hooks == self.hooks
        assert torch.equal(now.rng, self.rng)
        assert now.state.keys() == self.state.keys()
        for name, value in self.state.items():
            assert torch.equal(now.state[name], value), name


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_changes(name: str, images: Tensor) -> None:
    backbone = FrozenBackbone(name, num_classes=5)
    layer = next(n for n, m in backbone.model.named_modules() if isinstance(m, nn.Conv2d))
    backbone.train()
    before = Snapshot(backbone.model)
    output = backbone(images, taps=[layer])
    assert output.logits.shape == (2, 5)
    assert output.taps[layer].shape[0] == 2
    before.assert_unchanged(backbone.model)
    # In training mode a network with dropout or batch norm gives something else each time.
    assert torch.equal(backbone(images).logits, output.logits)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_changes_in_train_mode_and_after_an_exception(name: str, images: Tensor) -> None:
    """The engine on a bare model in train mode: right result or an error half way, the model comes back as it was."""
    model = build_network(name, num_classes=3).train()
    before = Snapshot(model)
    ExcitationBackprop(model).attribute(images, target=1)
    before.assert_unchanged(model)
    with pytest.raises(RuntimeError, match="half way"), eval_guard(model):
        fail_at_the_end(model, images)
    with pytest.raises(RuntimeError):
        FrozenBackbone(model)(torch.zeros(2, 7, 64, 64))
    before.assert_unchanged(model)


def fail_at_the_end(model: nn.Module, images: Tensor) -> None:
    model(images)
    torch.rand(3)
    raise RuntimeError("half way")


def test_an_own_module_is_left_alone(images: Tensor) -> None:
    model = OwnNetwork().train()
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    before = Snapshot(model)
    backbone = FrozenBackbone(model)
    backbone(images, taps=["conv"])
    before.assert_unchanged(model)
    with torch.no_grad():
        model.conv.weight.zero_()
    assert backbone.digest == weight_digest(backbone.model.state_dict())


def test_nothing_reaches_the_backbone_by_the_usual_ways() -> None:
    holder = nn.Module()
    holder.backbone = FrozenBackbone(OwnNetwork())
    holder.head = nn.Linear(3, 2)
    assert [name for name, _ in holder.named_parameters()] == ["head.weight", "head.bias"]
    assert not list(holder.buffers())
    holder.train()
    assert not any(module.training for module in holder.backbone.model.modules())
    holder.double()
    assert {p.dtype for p in holder.backbone.model.parameters()} == {torch.float64}


def test_a_tap_is_not_changed_by_the_in_place_relu_behind_it(images: Tensor) -> None:
    backbone = FrozenBackbone(OwnNetwork())
    taps = backbone(images, taps=["norm", "relu"]).taps
    assert taps["norm"].min() < 0
    torch.testing.assert_close(taps["norm"].relu(), taps["relu"])


def test_gradients_reach_the_images_and_no_parameter(images: Tensor) -> None:
    backbone = FrozenBackbone(OwnNetwork())
    images.requires_grad_()
    backbone(images).logits.sum().backward()
    assert images.grad is not None
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


def test_a_checkpoint_holds_the_digest_and_refuses_other_weights() -> None:
    torch.manual_seed(0)
    first, second = FrozenBackbone(OwnNetwork()), FrozenBackbone(OwnNetwork())
    state = first.state_dict()
    assert list(state.values()) == [first.digest]  # the arguments of a module are not known
    first.load_state_dict(state)
    with pytest.raises(ValueError, match=f"{first.digest}.*{second.digest}"):
        second.load_state_dict(state)


def test_a_checkpoint_holds_the_arguments_and_refuses_others() -> None:
    def backbone(**arguments: Any) -> FrozenBackbone:
        torch.manual_seed(0)
        return FrozenBackbone("tests.helpers.own_network:OwnNetwork", arguments=arguments)

    plain, given = backbone(), backbone(num_classes=3)
    assert plain.digest == given.digest
    given.load_state_dict(given.state_dict())
    with pytest.raises(ValueError, match=r'arguments \{"num_classes": 3\}, .* has \{\}'):
        plain.load_state_dict(given.state_dict())
    given.load_state_dict({"_extra_state": given.digest})  # as earlier releases wrote it
    given.load_state_dict(FrozenBackbone(given.model).state_dict())


def test_the_digest_sees_every_bit() -> None:
    state = {"a": torch.zeros(3), "b": torch.arange(4)}
    digests = [
        weight_digest(state),
        weight_digest({**state, "a": torch.tensor([0.0, 0.0, -0.0])}),
        weight_digest({**state, "a": torch.zeros(3, 1)}),
        weight_digest({**state, "a": torch.zeros(3, dtype=torch.int32)}),
        weight_digest({"c": state["a"], "b": state["b"]}),
    ]
    assert len(set(digests)) == len(digests)
    assert weight_digest(dict(reversed(list(copy.deepcopy(state).items())))) == digests[0]


def test_unknown_layer_names_its_neighbours(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"layer4\.1\.conv3.*layer4\.1\.conv2"):
        FrozenBackbone("resnet18", num_classes=2)(images, taps=["layer4.1.conv3"])


class HeadOnBackbone(nn.Module):
    """A learnable head on a backbone behind glass."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = FrozenBackbone(OwnNetwork())
        self.head = nn.Linear(3, 1)

    def forward(self, images: Tensor) -> Tensor:
        """One number an image."""
        return self.head(self.backbone(images).logits)


def train_on_rank(rank: int) -> None:
    torch.manual_seed(0)
    wrapped = DistributedDataParallel(HeadOnBackbone()).train()
    inner = wrapped.module.backbone.model
    before = Snapshot(inner)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1, weight_decay=0.1)
    for step in range(2):
        images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(step * 2 + rank))
        optimizer.zero_grad()
        wrapped(images).square().mean().backward()
        optimizer.step()
    before.assert_unchanged(inner)


def test_nothing_changes_under_distributed_training(ranks: RankPool) -> None:
    ranks.run(train_on_rank)


SCRIPTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "scripted": torch.jit.script,
    "traced": lambda network: torch.jit.trace(network, torch.rand(2, 3, 8, 8)),
    "frozen": lambda network: torch.jit.freeze(torch.jit.script(network)),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("kind", SCRIPTS)
def test_networks_of_torchscript_are_frozen_and_explained(kind: str) -> None:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    network, images = nn.Sequential(*body).eval(), torch.rand(2, 3, 8, 8)
    script = SCRIPTS[kind](network)
    torch.testing.assert_close(FrozenBackbone(script)(images).logits, network(images))
    torch.testing.assert_close(Saliency(script).attribute(images, 1), Saliency(network).attribute(images, 1))
    assert all(parameter.requires_grad for parameter in script.parameters())
