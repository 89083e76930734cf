"""Which call made which nodes of the graph."""

from typing import Any

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.node_origins import NodeOrigins, kind


def test_nodes_belong_to_the_call_that_made_them() -> None:
    origins, x = NodeOrigins(), torch.ones(2, requires_grad=True)
    start = origins.start([])
    known = x * 2 + 1
    origins.add(start, None)
    unseen = known.exp()
    start = origins.start([unseen])
    wrong = unseen.sin()
    origins.add(start, "sin")
    empty = origins.start([])
    origins.add(empty, "nothing")
    nodes = [tensor.grad_fn for tensor in (known, unseen, wrong)]
    assert [None if node is None else origins.refused(node) for node in nodes] == [None, "ExpBackward0", "sin"]
    below = known.grad_fn.next_functions[0][0] if known.grad_fn else None
    assert below is not None
    assert origins.refused(below) is None


def test_a_node_that_autograd_makes_late_is_no_ones() -> None:
    origins, base = NodeOrigins(), torch.ones(2, 2, requires_grad=True) * 1
    view = base[0]
    base.mul_(2)
    start = origins.start([view])  # makes the node of the view
    doubled = view * 2
    origins.add(start, "mul")
    assert doubled.grad_fn is not None
    assert view.grad_fn is not None
    assert kind(view.grad_fn) == "AsStridedBackward0"
    assert origins.refused(view.grad_fn) is None
    assert origins.refused(doubled.grad_fn) == "mul"


def test_nodes_of_backward_hooks_pass_and_own_functions_do_not() -> None:
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(_ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
            return gradients[0]

    x = torch.ones(2, requires_grad=True) * 1
    module = nn.Identity()
    module.register_full_backward_hook(lambda *_: None)
    hooked, own = module(x), Own.apply(x)
    assert NodeOrigins().refused(hooked.grad_fn) is None
    assert NodeOrigins().refused(own.grad_fn) == "OwnBackward"
