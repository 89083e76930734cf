"""Filter ablation: accuracy of a network with some filters set to zero (section 4.1 of Oramas et al., ICLR 2019)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vitrine.attribution.layer_kinds import filter_axis
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import resolve_layer
from vitrine.core.batch import Batch
from vitrine.filters.heatmaps import Filter
from vitrine.filters.token_layers import module_of, token_of
from vitrine.metrics.mean_class_accuracy import MeanClassAccuracy


@contextmanager
def ablated(model: nn.Module, filters: Iterable[Filter]) -> Iterator[None]:
    """A context in which the given filters of a model output zero.

    Filters are numbered as in filter responses: along the channel dimension of a layer's output, 1 or the last; they are
    zero at all tokens, and those of ``layer[index]`` at that token alone. Outputs are copied, so that tensors held elsewhere
    stay as they are.

    Args:
        model: the network whose forward passes are ablated; its first argument is the (B, C, H, W) images.
        filters: (layer, channel) pairs, with the layers' dotted names.

    Raises:
        ValueError: for an unknown layer; and from a forward pass for a channel that a layer does not have, and for a layer
            whose output is not a tensor.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        >>> with ablated(model, [("0", 2)]), torch.no_grad():
        ...     output = model(torch.rand(1, 3, 8, 8))  # (1, 4, 8, 8)
        >>> output[:, 2].any().item()
        False
    """
    channels: dict[str, list[int]] = defaultdict(list)
    for layer, channel in filters:
        resolve_layer(model, module_of(layer))
        channels[layer].append(channel)
    input_sizes: list[torch.Size] = []
    handles = [model.register_forward_pre_hook(_record_input_size(input_sizes))]
    try:
        for layer, indices in channels.items():
            handles.append(
                model.get_submodule(module_of(layer)).register_forward_hook(_zero_filters(layer, indices, input_sizes))
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def _record_input_size(input_sizes: list[torch.Size]) -> Any:
    def hook(_model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        input_sizes[:] = [inputs[0].shape[1:]]

    return hook


def _zero_filters(layer: str, indices: Sequence[int], input_sizes: Sequence[torch.Size]) -> Any:
    def hook(module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"Layer {layer!r} gives a {type(output).__name__}, not a tensor; choose a layer within it."
            )
        dim = filter_axis([module], output.shape, input_sizes[0])
        width = output.shape[dim]
        wrong = [index for index in indices if not 0 <= index < width]
        if wrong:
            raise ValueError(f"Layer {layer!r} has channels 0 to {width - 1}, not {wrong[0]}.")
        token = token_of(layer)
        if token is None:
            return output.index_fill(dim, torch.tensor(indices, device=output.device), 0)
        ablated_output = output.clone()
        ablated_output[:, token, indices] = 0
        return ablated_output

    return hook


def random_filters(filters: Sequence[Filter], widths: Mapping[str, int], generator: torch.Generator) -> list[Filter]:
    """Samples as many filters of the same layers, without replacement.

    In each layer they are sampled from the filters that are not among ``filters``; where these are too few, from all of its
    filters. A filter that is given twice counts once.

    Args:
        filters: (layer, channel) pairs.
        widths: number of filters of each layer.
        generator: of the sampling.

    Returns:
        (layer, channel) pairs whose layers are those of ``filters``, one by one.

    Example:
        >>> random_filters([("conv", 0)], {"conv": 2}, torch.Generator())
        [('conv', 1)]
    """
    distinct = list(dict.fromkeys(filters))
    sampled: dict[str, Iterator[int]] = {}
    for layer, count in Counter(layer for layer, _ in distinct).items():
        others = [channel for channel in range(widths[layer]) if (layer, channel) not in distinct]
        pool = others if len(others) >= count else range(widths[layer])
        sampled[layer] = iter([pool[index] for index in torch.randperm(len(pool), generator=generator).tolist()])
    return [(layer, next(sampled[layer])) for layer, _ in distinct]


def ablation_curve(
    model: nn.Module, batches: Iterable[Batch], filters: Sequence[Filter], counts: Sequence[int]
) -> Tensor:
    """Mean class accuracy with the first k filters ablated, for several k (figure 4).

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits.
        batches: images and their (B,) labels, on the model's device; read once.
        filters: (layer, channel) pairs by falling relevance; repetitions are ignored.
        counts: values of k, 0 or more.

    Returns:
        (len(counts),) in [0, 1].

    Raises:
        ValueError: for a count that is negative or larger than the number of filters; and as from `ablated`.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 2)).eval()
        >>> batches = [Batch(image=torch.rand(6, 3, 8, 8), label=torch.tensor([0, 1] * 3))]
        >>> ablation_curve(model, batches, [("0", 1), ("0", 3)], counts=[0, 1, 2]).shape
        torch.Size([3])
    """
    ranked = list(dict.fromkeys(filters))
    wrong = [count for count in counts if not 0 <= count <= len(ranked)]
    if wrong:
        raise ValueError(f"{wrong[0]} filters cannot be ablated: there are {len(ranked)}.")
    return accuracies_without(model, batches, [ranked[:count] for count in counts])


def accuracies_without(model: nn.Module, batches: Iterable[Batch], sets: Sequence[Sequence[Filter]]) -> Tensor:
    """(len(sets),) mean class accuracies, each with one set of filters ablated; the batches are read once."""
    accuracies = [MeanClassAccuracy() for _ in sets]
    for batch in batches:
        for accuracy, filters in zip(accuracies, sets, strict=True):
            with eval_guard(model), torch.no_grad(), ablated(model, filters):
                accuracy.to(batch["image"].device).update(model(batch["image"]), batch["label"])
    return torch.stack([accuracy.compute().cpu() for accuracy in accuracies])
