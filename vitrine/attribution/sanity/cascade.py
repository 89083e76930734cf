"""Models whose layers are re-drawn from the top down (cascading randomisation of Adebayo et al., NeurIPS 2018)."""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from vitrine.attribution.autograd.interception import tensors_in
from vitrine.backbones.guard import eval_guard


def randomized(
    model: nn.Module, inputs: Tensor, seed: int = 0, stages: int | None = None
) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a model in which a layer and all above it are re-drawn, from the logits down.

    A layer is a module with parameters of its own, or with a ``reset_parameters`` and buffers. It is re-drawn as a whole by
    its own ``reset_parameters``: a batch norm loses its running statistics too and becomes the identity, as in a new
    network. (Trained statistics over newly drawn convolutions would blow up the channels whose variance used to be small;
    and since a batch norm stands above its convolution, at most one trained convolution at a time goes unnormalised.)
    Parameters that this leaves as they were, or of a module that has no such method, are drawn from a normal distribution
    with their own mean and standard deviation; so a single number, or a constant tensor, stays.

    The order is that in which the forward pass of one image uses the layers, not that of their registration. One that is
    used several times stands at its last use; one that is never used does not appear, and keeps its weights.

    Args:
        model: left as it is.
        inputs: (B, C, H, W) as the model takes them; the first is run once to find the order.
        seed: of the weights, which are drawn on the CPU and are the same on every device; a layer's are the same whatever
            ``stages`` is.
        stages: at most so many copies, evenly spread, with the topmost layer and the lowest among them (of one, the
            lowest); all without it.

    Yields:
        The layer's name (the class of the model for parameters of its own) and a copy with its modes and on its device.

    Raises:
        ValueError: where the forward pass uses no parameter, or ``stages`` is less than 1.
    """
    layers = layers_from_top(model, inputs)
    yield from cascade(model, layers, spread(len(layers), stages), seed)


def cascade(
    model: nn.Module, layers: Sequence[str], shown: Collection[int], seed: int
) -> Iterator[tuple[str, nn.Module]]:
    """What `randomized` gives, for layers in a given order; only the copies at the positions ``shown``."""
    device = next(chain(model.parameters(), model.buffers())).device
    with torch.inference_mode(mode=False):  # else no gradient could go through the copies later
        current = copy.deepcopy(model).cpu()
    seeds = torch.Generator().manual_seed(seed)
    for position, layer in enumerate(layers):
        layer_seed = int(torch.randint(2**62, (), generator=seeds))
        with torch.inference_mode(mode=False), torch.random.fork_rng(devices=[]):
            torch.manual_seed(layer_seed)
            redraw(current.get_submodule(layer))
        if position in shown:
            with torch.inference_mode(mode=False):
                stage = copy.deepcopy(current).to(device)
            yield layer or type(model).__name__, stage


def spread(count: int, stages: int | None) -> list[int]:
    """At most ``stages`` of the positions 0 … count − 1, evenly spread, the last always among them.

    Raises:
        ValueError: where ``stages`` is less than 1.
    """
    if stages is not None and stages < 1:
        raise ValueError(f"stages is {stages}; give 1 or more, or None for all layers.")
    if stages == 1:
        return [count - 1]
    chosen = count if stages is None else min(stages, count)
    return sorted({round(position) for position in torch.linspace(0, count - 1, chosen).tolist()})


def layers_from_top(model: nn.Module, inputs: Tensor) -> list[str]:
    """Dotted names of the layers that a forward pass uses, the last used first; see `randomized`.

    Raises:
        ValueError: where it uses no parameter.
    """
    owned = {id(tensor): name for name, layer in model.named_modules() for tensor in _drawn(layer)}
    with eval_guard(model), torch.no_grad(), _Uses(owned) as uses:
        model(inputs[:1])
    if not uses.names:
        raise ValueError(f"The forward pass of the {type(model).__name__} uses no parameters; nothing can be re-drawn.")
    return list(reversed(uses.names))


@torch.no_grad()
def redraw(layer: nn.Module) -> None:
    """Re-draws the parameters and statistics that a module itself holds; see `randomized`."""
    parameters = list(layer.parameters(recurse=False))
    before = [parameter.clone() for parameter in parameters]
    if callable(reset := getattr(layer, "reset_parameters", None)):
        reset()
    for parameter, old in zip(parameters, before, strict=True):
        if torch.equal(parameter, old):
            wide = old.double()
            parameter.normal_(float(wide.mean()), float(wide.std(correction=0)))


def _drawn(layer: nn.Module) -> Iterator[Tensor]:
    """What re-drawing a module changes; buffers that it has no way to reset are tables, such as positions."""
    yield from layer.parameters(recurse=False)
    if hasattr(layer, "reset_parameters"):
        yield from layer.buffers(recurse=False)


class _Uses(TorchFunctionMode):
    """Notes in which order tensors were last used; names are those of the layers that own them, by ``id``."""

    def __init__(self, owned: dict[int, str]) -> None:
        super().__init__()
        self.owned = owned
        self.names: dict[str, None] = {}

    @override
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if any(True for _ in tensors_in(output)):  # to ask for a weight's type or shape is not to use it
            for tensor in tensors_in((args, kwargs)):
                if (name := self.owned.get(id(tensor))) is not None:
                    self.names.pop(name, None)
                    self.names[name] = None
        return output
