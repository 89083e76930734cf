"""Flags and tensors that are plain attributes are put back; counters, lists and other objects are left alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution import RISE, Saliency
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.plain_attributes import PlainAttributes


class Plain(nn.Linear):
    """A linear layer of one's own."""

    def __init__(self) -> None:
        super().__init__(2, 2)


def a_module() -> nn.Module:
    module = Plain()
    state: dict[str, Any] = {
        "count": 3, "is_ready": False, "name": "a", "nothing": None, "running": torch.zeros(2), "history": [1],
    }  # fmt: skip
    vars(module).update(state)
    return module


@pytest.mark.parametrize(
    "write",
    [
        lambda entries: entries.update(is_ready=True),
        lambda entries: entries.update(nothing=torch.ones(1)),
        lambda entries: entries.update(running=torch.zeros(2)),
        lambda entries: entries.update(running=None),
        lambda entries: entries.update(new=True),
        lambda entries: entries.update(new=torch.ones(1)),
        lambda entries: entries.pop("is_ready"),
    ],
)
def test_what_was_written_is_put_back(write: Any) -> None:
    module = a_module()
    entries = dict(vars(module))
    before = PlainAttributes([module])
    write(vars(module))
    assert before.put_back()
    assert vars(module).keys() == entries.keys()
    assert all(vars(module)[name] is value for name, value in entries.items())


def test_what_is_there_to_be_read_is_left_alone() -> None:
    module = a_module()
    before = PlainAttributes([module])
    vars(module).update(count=4, name="b", other=object())
    vars(module)["history"].append(2)
    assert not before.put_back()
    assert vars(module)["count"] == 4
    assert vars(module)["history"] == [1, 2]


def test_tensors_of_a_graph_are_not_copied() -> None:
    module = a_module()
    vars(module)["made"] = nn.Linear(2, 2)(torch.ones(1, 2))
    assert [one.shape for one in PlainAttributes([module]).tensors] == [(2,)]


class FirstBatchScale(nn.Module):
    """Sets its scale by the first batch that it sees, and notes in a plain flag that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(3, 2)
        self.is_ready = False

    def forward(self, images: Tensor) -> Tensor:
        if not self.is_ready:
            self.scale.data.copy_(1 / images.std(dim=(0, 2, 3)))
            self.is_ready = True
        logits: Tensor = self.head((images * self.scale[:, None, None]).square().mean(dim=(2, 3)))
        return logits


def test_maps_do_not_depend_on_earlier_calls() -> None:
    torch.manual_seed(0)
    model, images = FirstBatchScale(), torch.rand(2, 3, 8, 8)
    for method in (Saliency(model), RISE(model, n_samples=6, grid=2)):
        first = method.attribute(images, 0)
        assert torch.equal(method.attribute(images, 0), first)
        assert not model.is_ready
        assert torch.equal(model.scale, torch.ones(3))


def test_a_module_that_is_more_than_a_network_keeps_its_attributes() -> None:
    model = FirstBatchScale()
    with eval_guard(model, freeze=False):
        model(torch.rand(1, 3, 4, 4))
    assert model.is_ready
