"""FrozenBackbone: built by every kind of name, loaded from every kind of file, and unchanged by all that is done with it."""

import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from tests.helpers.ranks import RankPool
from vitrine.attribution import ExcitationBackprop
from vitrine.backbones.frozen import FrozenBackbone, weight_digest
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.networks import BackboneOptions, build_network

NETWORKS = ["resnet18", "vgg11_bn", "densenet121", "googlenet", "mobilenet_v2", "squeezenet1_0", "convnext_tiny"]


class OwnNetwork(nn.Module):
    """A network with everything that could change: batch norm, dropout, in-place and functional ReLU."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        hidden = self.relu(self.norm(self.conv(images)))
        return self.classifier(self.dropout(F.relu(hidden.mean(dim=(2, 3)))))


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


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


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
    assert list(state.values()) == [first.digest]
    first.load_state_dict(state)
    with pytest.raises(ValueError, match=f"{first.digest}.*{second.digest}"):
        second.load_state_dict(state)


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


# Names


def test_own_class_by_name(tmp_path: Path) -> None:
    module = ModuleType("network_of_a_user")
    module.Net = OwnNetwork  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    backbone = FrozenBackbone("network_of_a_user:Net", arguments={"num_classes": 4})
    assert backbone(torch.rand(1, 3, 8, 8)).logits.shape == (1, 4)


def test_timm_by_name(images: Tensor) -> None:
    backbone = FrozenBackbone("timm:resnet10t", num_classes=4)
    assert backbone(images, taps=["layer4"]).logits.shape == (2, 4)
    with pytest.raises(ValueError, match=r"no model named 'resnet10q'.*near names"):
        FrozenBackbone("timm:resnet10q")
    with pytest.raises(ValueError, match="'IMAGENET1K_V1' are unknown to timm"):
        FrozenBackbone("timm:resnet10t", weights="IMAGENET1K_V1")


def test_timm_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vitrine\[timm\]'"):
        FrozenBackbone("timm:resnet10t")


def test_weights_from_the_public_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table's own loader is called; the download itself is stood in for, since tests have no network."""
    state = torchvision.models.resnet18().state_dict()
    entry = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    asked: list[Any] = []

    def download(self: Any, **_: Any) -> dict[str, Tensor]:
        asked.append(self)
        return state

    monkeypatch.setattr(type(entry), "get_state_dict", download)
    backbone = FrozenBackbone("resnet18", weights="IMAGENET1K_V1")
    assert asked == [entry]
    assert backbone.digest == weight_digest(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "resnet19"}, r"no classifier named 'resnet19'.*resnet18"),
        ({"network": "resnet18", "weights": "IMAGENET"}, r"'IMAGENET' are neither a file.*IMAGENET1K_V1"),
        ({"network": "no.such.place:Net"}, r"'no.such.place:Net' cannot be imported"),
        ({"network": "torch.nn:NoNet"}, r"'torch.nn:NoNet' cannot be imported"),
        ({"network": "torch.nn:Identity", "weights": "DEFAULT"}, r"must be a local file"),
    ],
)
def test_wrong_names(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenBackbone(**arguments)  # type: ignore[arg-type]


def test_unknown_layer_names_its_neighbours(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"layer4\.1\.conv3.*layer4\.1\.conv2"):
        FrozenBackbone("resnet18", num_classes=2)(images, taps=["layer4.1.conv3"])


# Weight files


@pytest.fixture
def own_state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return OwnNetwork().state_dict()


SAVERS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "w.pth": torch.save,
    "w.pt": torch.save,
    "w.safetensors": save_file,
}


@pytest.mark.parametrize("name", SAVERS)
def test_local_files(name: str, own_state: dict[str, Tensor], tmp_path: Path) -> None:
    SAVERS[name](own_state, tmp_path / name)
    backbone = FrozenBackbone(OwnNetwork(), weights=tmp_path / name)
    assert backbone.digest == weight_digest(own_state)


def wrong_files(state: dict[str, Tensor], folder: Path) -> Iterator[tuple[Path, str]]:
    first, *_ = state
    yield folder / "absent.pth", "absent.pth does not exist"
    (folder / "broken.safetensors").write_bytes(b"nothing of the kind")
    yield folder / "broken.safetensors", "broken.safetensors cannot be read"
    (folder / "broken.pth").write_bytes(b"nothing of the kind")
    yield folder / "broken.pth", "broken.pth"
    torch.save(OwnNetwork(), folder / "module.pth")
    yield folder / "module.pth", "module.pth holds more than tensors"
    torch.save([1, 2], folder / "list.pth")
    yield folder / "list.pth", "list.pth does not hold a state dict"
    torch.save({k: v for k, v in state.items() if k != first}, folder / "less.pth")
    yield folder / "less.pth", f"lacks '{first}'"
    torch.save({**state, "extra": torch.ones(1)}, folder / "more.pth")
    yield folder / "more.pth", "has 'extra'"
    torch.save({**state, "classifier.weight": torch.ones(7, 4)}, folder / "shape.pth")
    yield folder / "shape.pth", r"'classifier.weight' has shape \(7, 4\) there and \(3, 4\) here"


def test_wrong_files_are_named(own_state: dict[str, Tensor], tmp_path: Path) -> None:
    for path, message in wrong_files(own_state, tmp_path):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            FrozenBackbone(OwnNetwork(), weights=path)


def test_options_name_a_file_only_by_its_suffix() -> None:
    assert BackboneOptions("resnet18", "DEFAULT").weight_file is None
    assert BackboneOptions("resnet18", "a/b.pth").weight_file == Path("a/b.pth")


# Distributed


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
