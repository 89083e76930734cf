"""Several attribution methods on the same images, by one forward pass for all that can share it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vitrine.attribution.base import Method
from vitrine.attribution.captum_arguments import AnyTarget, is_plain
from vitrine.attribution.shared_pass import CANNOT_SHARE, shared_pass
from vitrine.backbones.batch_mixing import mixes_batch
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.outputs import logits_given
from vitrine.core.image_inputs import check_images, run_errors_named


def attribute_together(
    methods: Mapping[str, Method], inputs: Tensor, target: AnyTarget | None = None
) -> dict[str, Tensor]:
    """What `Method.attribute` of each method gives; those whose rules are decided in the backward pass share a forward pass.

    These are Saliency, Deconvnet and GuidedBackprop without ``stride_one``, CAM, GradCAM, GradCAMPlusPlus, LayerCAM and the
    guided Grad-CAMs, without an ``internal_batch_size``. Others need operators to run by other rules on the way forward, or
    other inputs. Where a shared pass cannot serve all of them, each runs by itself.

    Args:
        methods: by any names, on any models; those of the model of the first one that can share a pass do.
        inputs: as in `Method.attribute`.
        target: likewise.

    Raises:
        ValueError: as `Method.attribute` of each.

    Example:
        >>> from torch import nn
        >>> from vitrine.attribution import GradCAM, Saliency
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> maps = attribute_together({"a": Saliency(model), "b": GradCAM(model)}, torch.rand(2, 3, 8, 8), target=1)
        >>> [map_.shape for map_ in maps.values()]
        [torch.Size([2, 3, 8, 8]), torch.Size([2, 1, 8, 8])]
    """
    check_images(inputs, "inputs", finite=True)
    sharing = _sharing(methods)
    unrectified = {name: method for name, method in sharing.items() if not method.rectifies}
    shared = _by_shared_pass(sharing, inputs, target)
    if not shared and len(unrectified) < len(sharing):
        shared = _by_shared_pass(unrectified, inputs, target)
    return {
        name: shared[name] if name in shared else method.attribute(inputs, target) for name, method in methods.items()
    }


def _sharing(methods: Mapping[str, Method]) -> dict[str, Method]:
    """The methods that may share a pass: on one model, with the same choice of its output."""
    able = {
        name: method
        for name, method in methods.items()
        if _reads_all_it_maps(type(method))
        and method.internal_batch_size is None
        and not isinstance(method.model, torch.jit.ScriptModule)
    }
    first = next(iter(able.values()), None)
    return {
        name: method
        for name, method in able.items()
        if first is not None and method.model is first.model and method.output == first.output
    }


def _reads_all_it_maps(kind: type[Method]) -> bool:
    """Whether what gives the maps of a shared pass is written in no class above that of what the maps follow from."""

    def depth(name: str) -> int:
        return next((place for place, base in enumerate(kind.__mro__) if name in vars(base)), len(kind.__mro__))

    changing = ("attribute", "maps", "coarse_maps", "explained_output", "rectifier_rules", "intercepting", "cotangent")
    return kind.reader is not Method.reader and depth("maps_of_pass") <= min(map(depth, changing))


def _by_shared_pass(methods: Mapping[str, Method], inputs: Tensor, target: AnyTarget | None) -> dict[str, Tensor]:
    """Maps of the methods that could be read off one forward pass; none where one of them finds fault with it."""
    if len(methods) < 2 or not len(inputs) or not is_plain(target):
        return {}
    first = next(iter(methods.values()))
    with (
        eval_guard(first.model),
        logits_given(first.model, first.output),
        torch.inference_mode(mode=False),
        run_errors_named(" and ".join(methods), inputs),
    ):
        inputs = inputs.detach().clone()
        if mixes_batch(first.model, inputs.expand(2, -1, -1, -1) if len(inputs) == 1 else inputs, None):
            return {}
        explained = {name: method.explained_target(len(inputs), target, None) for name, method in methods.items()}
        try:
            shared, seen = shared_pass(methods, inputs)
            maps = {name: methods[name].maps_of_pass(shared, found, explained[name]) for name, found in seen.items()}
        except CANNOT_SHARE:  # each by itself then, with an error of its own
            return {}
        return {name: map_ if explained[name].is_multiple else map_.squeeze(1) for name, map_ in maps.items()}
