"""Response layers: the layers of a network whose filters are features."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace, vjp_at, zero_input
from vitrine.attribution.layer_kinds import Kind, axis_of, counts_as_layer, is_elementwise, kind_of
from vitrine.attribution.layouts import TokenGrid
from vitrine.backbones.classifier_layer import input_channels
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import resolve_layer
from vitrine.core.options import OptionError
from vitrine.filters.token_layers import Grid, Tokens, check_token, grid_finder, module_of, other_tokens, token_of

Layers = Literal["all", "conv", "all_with_activations", "conv_with_activations"] | Sequence[str]
KINDS = ("conv", "pool", "norm", "linear")
WITH_ACTIVATIONS = "_with_activations"


class ResponseLayer(NamedTuple):
    """A layer whose filters are features.

    Example:
        >>> layer = ResponseLayer("features.0", "conv", number=1, width=64, start=0, spatial=True)
        >>> layer.start + layer.width  # index of the next layer's first filter
        64
    """

    name: str
    """Dotted name, as in ``named_modules()``, or that of one token of it, such as ``blocks.3[0]`` (see `token_layers`)."""
    kind: Kind
    """``activation`` occurs only where it was asked for, and ``other`` among layers that the user named."""
    number: int
    """1, 2, …: position in the network.

    Calls of modules without submodules are counted, activations included as in the paper, but not identities (dropout,
    flattening) and operators without a module. A container has the number of its last layer.
    """
    width: int
    """Number of filters."""
    start: int
    """Index of the first filter in x; ``x[start:start + width]`` are the layer's filters."""
    spatial: bool
    """Whether the output is a map, (B, C, h, w) or (B, h, w, C), or patch tokens of a known grid; other tokens are not."""
    axis: int = 1
    """The channel dimension of the output."""
    grid: Grid | None = None
    """Of a layer of tokens, the indices of the patch tokens, over which responses are taken, row by row."""
    num_tokens: int = 0
    """Of a layer of tokens whose patches are known, N; 0 for others."""

    @property
    def module(self) -> str:
        """The module whose output it is; ``blocks.3`` for ``blocks.3[0]``."""
        return module_of(self.name)

    def filters_first(self, output: Tensor) -> Tensor:
        """The filters of the module's output: (B, C), (B, C, h, w), or (B, C, N) for tokens without a known grid.

        Raises:
            ValueError: for another number of tokens than that of images of ``image_size``.
        """
        if self.num_tokens and output.shape[1] != self.num_tokens:
            raise ValueError(
                f"Layer {self.name!r} has {output.shape[1]} tokens for images of this size and {self.num_tokens} for those"
                " of image_size; set image_size to the size of the images."
            )
        token = token_of(self.name)
        if token is not None:
            return output[:, token]
        if self.grid is not None:
            return TokenGrid(torch.tensor(self.grid, device=output.device))(output)
        return output if self.axis == 1 else output.movedim(self.axis, 1)


def response_layers(
    model: nn.Module, image_size: int | Sequence[int], layers: Layers = "all", tokens: Tokens = "apart"
) -> list[ResponseLayer]:
    """The layers of the filter responses x (section 3.1 of Oramas et al.), in the order of the forward pass.

    Args:
        model: maps (B, C, H, W) images to (B, n) logits.
        image_size: side of the square input, or (C, H, W).
        layers: ``"all"`` for every convolution, pooling, normalisation and fully connected layer but class layers, whose
            channels correspond to the logits one to one: logit j depends on channel j alone. ``"conv"`` for those of them
            whose outputs are maps, as the paper counts pooling among the convolutional layers. ``"all_with_activations"`` and
            ``"conv_with_activations"`` for those with the activation modules (ReLU, GELU, …), which are layers in the paper;
            of one that is called several times, its last call, and not activations called as functions. Or the names of
            layers with outputs (B, C), (B, C, h, w), (B, h, w, C) or tokens (B, N, C); a class or register token as
            ``name[index]``.
        tokens: see `Tokens`; of named layers, whether responses are taken over patch tokens or over all of them.

    Raises:
        ValueError: for an unknown layer, with near names, for one that is not run or has no filters, and for no layer at all.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        >>> [(layer.name, layer.kind, layer.width) for layer in response_layers(model, image_size=8)]
        [('0', 'conv', 4)]
    """
    return traced_layers(model, image_size, layers, tokens)[0]


def traced_layers(
    model: nn.Module, image_size: int | Sequence[int], layers: Layers, tokens: Tokens = "apart"
) -> tuple[list[ResponseLayer], int]:
    """The layers as in `response_layers`, and the number of logits."""
    size = (input_channels(model), image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    with eval_guard(model), torch.inference_mode(mode=False):
        trace = forward_trace(model, zero_input(model, size))
        numbers = _numbers(model, trace.visits)
        grid_of = grid_finder(trace) if tokens != "together" else lambda _: None
        unplaced = [
            _response_layer(model, trace, visit, numbers, grid_of(visit), token)
            for visit in _selected(model, trace, layers)
            for token in _tokens_of(visit, grid_of(visit), layers, tokens)
        ]
    if not unplaced:
        raise ValueError(f"{type(model).__name__} has no layers for {layers!r}; name them as in model.named_modules().")
    starts = [sum(layer.width for layer in unplaced[:index]) for index in range(len(unplaced))]
    placed = [layer._replace(start=start) for layer, start in zip(unplaced, starts, strict=True)]
    return placed, trace.logits.shape[1]


def _selected(model: nn.Module, trace: ForwardTrace, layers: Layers) -> list[Visit]:
    visits = trace.last_of_each()
    if not isinstance(layers, str):
        names = {resolve_layer(model, module_of(name)) for name in layers}
        _check_ran(names, visits)
        return [visit for visit in visits if visit.layer in names]
    extent = layers.removesuffix(WITH_ACTIVATIONS)
    if extent not in {"all", "conv"}:
        wanted = "'all', 'conv', 'all_with_activations', 'conv_with_activations' or a list of names"
        raise OptionError("layers", layers, wanted)
    ndims = {2, 3, 4} if extent == "all" else {4}
    modules = [model.get_submodule(visit.layer) for visit in visits]
    of_kinds = [
        visit
        for visit, module in zip(visits, modules, strict=True)
        if kind_of(module) in KINDS or (extent != layers and is_elementwise(module))
    ]
    return [visit for visit in of_kinds if len(visit.shape) in ndims and not _is_class_layer(model, trace, visit)]


def _check_ran(names: Iterable[str], visits: Sequence[Visit]) -> None:
    shapes = {visit.layer: visit.shape for visit in visits}
    for name in names:
        if name not in shapes:
            raise ValueError(
                f"Layer {name!r} gives no tensor (B, …) that depends on the image; choose another, or one within it."
            )
        if len(shapes[name]) not in {2, 3, 4}:
            raise ValueError(
                f"Layer {name!r} gives {tuple(shapes[name])} for one image, which has no filters; choose one that gives"
                " (B, C), (B, C, h, w) or tokens (B, N, C)."
            )


def _is_class_layer(model: nn.Module, trace: ForwardTrace, visit: Visit) -> bool:
    """Whether the logits 0, 2, … depend on the channels 0, 2, … alone."""
    axis = axis_of(model, trace, visit)
    if visit.shape[axis] != trace.logits.shape[1]:
        return False
    # NaN times a weight of 0 is NaN: a dependence is found whatever the weights are.
    cotangent = torch.zeros_like(trace.logits)
    cotangent[:, ::2] = torch.nan
    gradient = vjp_at(trace.logits, visit.edge, cotangent)
    return gradient is None or not bool(gradient.movedim(axis, 1)[:, 1::2].any())


def _numbers(model: nn.Module, visits: Sequence[Visit]) -> dict[str, int]:
    """The number of each layer, that of its last call."""
    outputs = set()
    numbers = {}
    for visit in visits:
        module = model.get_submodule(visit.layer)
        if counts_as_layer(module):
            outputs.add(visit.edge[:2])  # a set, as stochastic depth returns its input in eval mode
        numbers[visit.layer] = max(len(outputs), 1)
    return numbers


def _tokens_of(visit: Visit, grid: Grid | None, layers: Layers, tokens: Tokens) -> list[int | None]:
    """Which filters of a selected layer are taken: None stands for its patches, or all that it gives."""
    others = other_tokens(visit.shape[1], grid)
    if isinstance(layers, str):
        return [None, *(others if tokens == "apart" else [])]
    named = [name for name in layers if module_of(name) == visit.layer]
    for name in named:
        check_token(name, {visit.layer: visit.shape}, others)
    chosen = {token_of(name) for name in named}
    return [token for token in (None, *others) if token in chosen]


def _response_layer(
    model: nn.Module, trace: ForwardTrace, visit: Visit, numbers: dict[str, int], grid: Grid | None, token: int | None
) -> ResponseLayer:
    kind, axis = kind_of(model.get_submodule(visit.layer)), axis_of(model, trace, visit)
    layer = ResponseLayer(
        visit.layer, kind, numbers[visit.layer], visit.shape[axis], 0, len(visit.shape) == 4 or grid is not None, axis
    )
    if grid is None:
        return layer
    layer = layer._replace(num_tokens=visit.shape[1])
    return layer._replace(grid=grid) if token is None else layer._replace(name=f"{layer.name}[{token}]", spatial=False)
