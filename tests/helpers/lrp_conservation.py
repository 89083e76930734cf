"""What pixels, constants and softmaxes get of a logit by LRP, to test that nothing else absorbs relevance."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vitrine.attribution.autograd.calls import Call
from vitrine.attribution.lrp.composites import Composite
from vitrine.attribution.lrp.propagation import RelevanceInterception, of_signals


class Shares(NamedTuple):
    """Where the relevance of a logit ends."""

    logit: float
    pixels: float
    constants: float
    """Of biases, embeddings and tokens."""
    softmaxes: float
    """What the Taylor expansion of softmaxes leaves out."""


def shares_of_logit(model: nn.Module, images: Tensor, composite: Composite, index: int = 1) -> Shares:
    """Propagates one logit to the pixels and to every constant that a forward pass adds."""
    pixels = images.clone().requires_grad_()
    entering = of_signals(pixels)
    interception = RelevanceInterception(composite, entering, "cpu")
    absorbed: list[Tensor] = []
    softmax: Any = interception.rules["softmax"]

    def recorded(call: Call) -> Any:
        x = call.operand
        before = x.view_as(x)
        before.register_hook(lambda signal: absorbed.append(-(signal * before.detach()).sum()))
        output = softmax(Call(call.function, (before, *call.args[1:]), call.kwargs))
        if output.requires_grad:
            output.register_hook(lambda signal: absorbed.append((signal * output.detach()).sum()))
        return output

    vars(interception)["rules"] = {**interception.rules, "softmax": recorded}
    tensors = [*model.named_parameters(), *model.named_buffers()]
    leaves = {
        name: p.detach().clone().requires_grad_() for name, p in tensors if p.is_floating_point() and is_added(name)
    }
    given = {name: leaf.clone() for name, leaf in leaves.items()}
    with interception:
        logit = functional_call(model, given, (entering,))[:, index].sum()
    interception.check(logit)
    signals = torch.autograd.grad(logit, [pixels, *leaves.values()], allow_unused=True)
    constants = [
        float((s * x).detach().sum()) for x, s in zip(leaves.values(), signals[1:], strict=True) if s is not None
    ]
    of_pixels = 0.0 if signals[0] is None else float(signals[0].sum())
    return Shares(float(logit.detach()), of_pixels, sum(constants), float(sum(absorbed)))


def is_added(name: str) -> bool:
    """Whether a parameter or buffer is a summand, by its name; rotations of queries and keys are factors."""
    last = name.rpartition(".")[2]
    if "rope" in name:
        return False
    return "bias" in last or any(part in last for part in ("pos_embed", "pos_embedding", "token", "position", "coords"))
