"""What a network loses with some of its filters (section 4.1 of Oramas et al., ICLR 2019)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import resolve_layer
from vitrine.core.batch import Batch
from vitrine.filters.heatmaps import Filter
from vitrine.filters.layers import filter_axis
from vitrine.metrics.mean_class_accuracy import MeanClassAccuracy


@contextmanager
def ablated(model: nn.Module, filters: Iterable[Filter]) -> Iterator[None]:
    """Within it the given filters of a model give zero; afterwards they give what they gave before.

    Filters are numbered as in filter responses: along dimension 1 of a layer's output, or along its last one where that is
    what holds the channels. Outputs are copied, so that tensors which others hold are left alone.

    Args:
        model: the network that the forward passes go through; its first argument is the (B, C, H, W) images.
        filters: (layer, channel) pairs, by the layers' dotted names.

    Raises:
        ValueError: for an unknown layer; and of a forward pass for a channel that a layer does not have, and for a layer
            whose output is not a tensor.
    """
    channels: dict[str, list[int]] = defaultdict(list)
    for layer, channel in filters:
        channels[resolve_layer(model, layer)].append(channel)
    sizes: list[torch.Size] = []
    handles = [model.register_forward_pre_hook(_size_keeper(sizes))]
    try:
        for layer, indices in channels.items():
            handles.append(model.get_submodule(layer).register_forward_hook(_silencer(layer, indices, sizes)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _size_keeper(sizes: list[torch.Size]) -> Any:
    def keep(_model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[:] = [inputs[0].shape[1:]]

    return keep


def _silencer(layer: str, indices: Sequence[int], sizes: Sequence[torch.Size]) -> Any:
    def silence(module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"Layer {layer!r} gives a {type(output).__name__}, not a tensor; choose a layer within it."
            )
        dim = filter_axis([module], output.shape, sizes[0])
        count = output.shape[dim]
        wrong = [index for index in indices if not 0 <= index < count]
        if wrong:
            raise ValueError(f"Layer {layer!r} has channels 0 to {count - 1}, not {wrong[0]}.")
        return output.index_fill(dim, torch.tensor(indices, device=output.device), 0)

    return silence


def random_filters(filters: Sequence[Filter], widths: Mapping[str, int], generator: torch.Generator) -> list[Filter]:
    """As many filters of the same layers, drawn at random.

    Those of a layer are drawn from its filters that are not among the given ones; where these are too few, from all of its
    filters. None is drawn twice, and a filter that is given twice counts once.

    Args:
        filters: (layer, channel) pairs.
        widths: how many filters each layer has.
        generator: of the drawing.

    Returns:
        (layer, channel) pairs, whose layers are those of the given filters one by one.
    """
    given = list(dict.fromkeys(filters))
    drawn: dict[str, Iterator[int]] = {}
    for layer, count in Counter(layer for layer, _ in given).items():
        others = [channel for channel in range(widths[layer]) if (layer, channel) not in given]
        pool = others if len(others) >= count else range(widths[layer])
        drawn[layer] = iter([pool[place] for place in torch.randperm(len(pool), generator=generator).tolist()])
    return [(layer, next(drawn[layer])) for layer, _ in given]


def ablation_curve(
    model: nn.Module, batches: Iterable[Batch], filters: Sequence[Filter], counts: Sequence[int]
) -> Tensor:
    """Mean class accuracy as the first k filters are ablated (figure 4).

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits.
        batches: images and their (B,) labels, on the model's device; read once.
        filters: (layer, channel) pairs by falling relevance; one that comes again does not count again.
        counts: values of k, at least 0.

    Returns:
        (len(counts),) in [0, 1].

    Raises:
        ValueError: for a count that is negative or larger than the number of filters; and as of `ablated`.
    """
    ranked = list(dict.fromkeys(filters))
    wrong = [count for count in counts if not 0 <= count <= len(ranked)]
    if wrong:
        raise ValueError(f"{wrong[0]} filters cannot be ablated: there are {len(ranked)}.")
    return accuracies_without(model, batches, [ranked[:count] for count in counts])


def accuracies_without(model: nn.Module, batches: Iterable[Batch], sets: Sequence[Sequence[Filter]]) -> Tensor:
    """(len(sets),) mean class accuracies, each with one set of filters ablated; batches are read once."""
    accuracies = [MeanClassAccuracy() for _ in sets]
    for batch in batches:
        for accuracy, filters in zip(accuracies, sets, strict=True):
            with eval_guard(model), torch.no_grad(), ablated(model, filters):
                accuracy.to(batch["image"].device).update(model(batch["image"]), batch["label"])
    return torch.stack([accuracy.compute().cpu() for accuracy in accuracies])
