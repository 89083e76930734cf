"""Cascading randomisation: copies of a model with layers re-initialised from the top (Adebayo et al., NeurIPS 2018)."""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from vitrine.attribution.autograd.calls import tensors_in
from vitrine.backbones.guard import eval_guard
from vitrine.core.options import Count, checked


@checked
def randomized(
    model: nn.Module, inputs: Tensor, seed: int = 0, stages: Count | None = None
) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a model in which a layer and all above it are re-initialised, from the logits down.

    A layer is a module that has parameters itself, or a ``reset_parameters`` and buffers. It is re-initialised as a whole by
    its ``reset_parameters``: a batch norm also loses its running statistics and becomes the identity, as in a new network.
    (Trained statistics after new convolutions would blow up the channels whose variance was small; and since a batch norm
    comes after its convolution, at most one trained convolution at a time is not normalised.) Parameters that this does not
    change, or of a module without such a method, are drawn from a normal distribution with their mean and standard deviation;
    so a single number, or a constant tensor, keeps its value.

    The order is that in which the forward pass of one image uses the layers, not that of their registration. A layer that is
    used several times counts at its last use; one that is never used keeps its weights.

    Args:
        model: it is not changed.
        inputs: (B, C, H, W) as the model takes them; the first is run once to find the order.
        seed: of the weights, which are drawn on the CPU and are the same on every device, and for any ``stages``.
        stages: the most copies, evenly spread from the topmost layer to the lowest (a single one is that of the lowest); all
            if it is None.

    Returns:
        An iterator over pairs: the layer's name (the class of the model for its own parameters) and a copy, in the model's
        modes and on its device.

    Raises:
        ValueError: if the forward pass uses no parameter, or ``stages`` is out of range.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> [layer for layer, _ in randomized(model, torch.rand(1, 3, 8, 8))]
        ['3', '0']
    """
    layers = layers_from_top(model, inputs)
    return cascade(model, layers, evenly_spaced(len(layers), stages), seed)


def cascade(
    model: nn.Module, layers: Sequence[str], positions: Collection[int], seed: int
) -> Iterator[tuple[str, nn.Module]]:
    """The copies of `randomized` at some positions of a given order of layers."""
    device = next(chain(model.parameters(), model.buffers())).device
    with torch.inference_mode(mode=False):  # gradients go through the copies later
        current = copy.deepcopy(model).cpu()
    seeds = torch.Generator().manual_seed(seed)
    for position, layer in enumerate(layers):
        layer_seed = int(torch.randint(2**62, (), generator=seeds))
        with torch.inference_mode(mode=False), torch.random.fork_rng(devices=[]):
            torch.manual_seed(layer_seed)
            reinitialise(current.get_submodule(layer))
        if position in positions:
            with torch.inference_mode(mode=False):
                stage = copy.deepcopy(current).to(device)
            yield layer or type(model).__name__, stage


def evenly_spaced(count: int, stages: int | None) -> list[int]:
    """At most ``stages`` of the positions 0 … count − 1, evenly spaced from the first to the last; of one, the last."""
    if stages == 1:
        return [count - 1]
    num_positions = count if stages is None else min(stages, count)
    return sorted({round(position) for position in torch.linspace(0, count - 1, num_positions).tolist()})


def layers_from_top(model: nn.Module, inputs: Tensor) -> list[str]:
    """Dotted names of the layers that a forward pass uses, the last used first; see `randomized`.

    Raises:
        ValueError: if it uses no parameter.
    """
    layer_of = {id(tensor): name for name, layer in model.named_modules() for tensor in _reinitialised(layer)}
    with eval_guard(model), torch.no_grad(), _LastUses(layer_of) as uses:
        model(inputs[:1])
    if not uses.layers:
        raise ValueError(
            f"The forward pass of {type(model).__name__} uses no parameters; nothing can be re-initialised."
        )
    return list(reversed(uses.layers))


@torch.no_grad()
def reinitialise(layer: nn.Module) -> None:
    """Re-initialises the parameters and statistics that a module itself holds; see `randomized`."""
    parameters = list(layer.parameters(recurse=False))
    before = [parameter.clone() for parameter in parameters]
    if callable(reset := getattr(layer, "reset_parameters", None)):
        reset()
    for parameter, old in zip(parameters, before, strict=True):
        if torch.equal(parameter, old):
            wide = old.double()
            parameter.normal_(float(wide.mean()), float(wide.std(correction=0)))


def _reinitialised(layer: nn.Module) -> Iterator[Tensor]:
    """The tensors that `reinitialise` changes; buffers that a module cannot reset are constants, such as positions."""
    yield from layer.parameters(recurse=False)
    if hasattr(layer, "reset_parameters"):
        yield from layer.buffers(recurse=False)


class _LastUses(TorchFunctionMode):
    """Records the order in which layers were last used, given the layers of their tensors by ``id``."""

    def __init__(self, layer_of: dict[int, str]) -> None:
        super().__init__()
        self.layer_of = layer_of
        self.layers: dict[str, None] = {}

    @override
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if any(True for _ in tensors_in(output)):  # a call for a weight's type or shape is no use of it
            for tensor in tensors_in((args, kwargs)):
                if (name := self.layer_of.get(id(tensor))) is not None:
                    self.layers.pop(name, None)
                    self.layers[name] = None
        return output
