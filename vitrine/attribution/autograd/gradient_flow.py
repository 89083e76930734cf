"""Whether a gradient leads from the output of a network back to its input, and what stands in its way where none does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge

from vitrine.attribution.autograd.calls import tensors_in
from vitrine.attribution.autograd.interception import walk
from vitrine.backbones.checkpointing import without_checkpointing

REMEDY = "use a method that needs none, such as Occlusion, RISE, ScoreCAM or UpsampledActivation"

STEPS = {
    *("RoundBackward", "FloorBackward", "CeilBackward", "TruncBackward", "SignBackward", "SgnBackward", "ZeroBackward"),
    *("BernoulliBackward", "NotImplemented", "WarnNotImplemented"),
}
"""Nodes of the graph with a slope of 0 everywhere, or of which none is known, as of quantised layers."""


@contextmanager
def differentiating(model: nn.Module) -> Iterator[None]:
    """A context for forward passes that a backward pass follows: gradients are on, gradient checkpointing is off.

    Raises:
        ValueError: if parameters or buffers made in `torch.inference_mode` keep the graph from being built.
    """
    try:
        with torch.enable_grad(), without_checkpointing():
            yield
    except RuntimeError as error:
        if "nference tensor" not in str(error):
            raise
        raise ValueError(
            f"{type(model).__name__} has parameters or buffers that were made in torch.inference_mode(), through which no"
            f" gradient flows; build or load it outside of that mode, or {REMEDY}."
        ) from error


def check_gradient(
    output: Tensor, inputs: Tensor, model: nn.Module, images: Tensor | None = None, layer: str | None = None
) -> None:
    """Makes sure that a gradient leads from an output back to the inputs. One whose value is 0 does.

    Args:
        output: of a forward pass with gradients.
        inputs: what the graph begins with, or what was made of it before the forward pass.
        model: the model, of which another pass is made where no gradient leads back, to find out why.
        images: what that pass takes; the inputs themselves if it is None.
        layer: that gave the output; None for the model itself.

    Raises:
        ValueError: if no gradient leads there, with the likely cause.
    """
    if not leads_to(output, inputs):
        what = (
            f"the logits of {type(model).__name__}" if layer is None else f"layer {layer!r} of {type(model).__name__}"
        )
        cause = _cause(model, inputs if images is None else images)
        raise ValueError(f"No gradient leads from {what} back to its inputs: {cause}; {REMEDY}.")


def leads_to(output: Tensor, inputs: Tensor) -> bool:
    """Whether a way through the graph of an output reaches the inputs past no operator with a slope of 0 everywhere."""
    if not (output.requires_grad and inputs.requires_grad):
        return False
    end = get_gradient_edge(inputs).node
    return any(node == end for node in walk([get_gradient_edge(output).node], _is_step) if not _is_step(node))


def _is_step(node: Node) -> bool:
    function = getattr(node, "_forward_cls", None)  # of an autograd.Function
    if function is not None:
        plain = torch.autograd.Function
        return function.backward is plain.backward and function.vjp is plain.vjp
    kind = node.name().rsplit("::", 1)[-1].rstrip("0123456789")
    return kind in STEPS or getattr(node, "_saved_rounding_mode", None) is not None


def _cause(model: nn.Module, images: Tensor) -> str:
    """What keeps gradients from the inputs, as far as another forward pass shows."""
    found: list[str] = []
    modules = [
        (name, module) for name, module in model.named_modules() if not isinstance(module, torch.jit.ScriptModule)
    ]
    handles = [module.register_forward_pre_hook(_finding_modes(found, name)) for name, module in modules if name]
    handles += [module.register_forward_hook(_finding_losses(found, name)) for name, module in modules if name]
    weight = next((p for p in model.parameters() if p.is_floating_point()), images)
    try:
        # Without the rules of a method, some of which take an input for a constant.
        with torch.enable_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001 - of torch's documentation
            output = model(images.detach().clone().to(weight.dtype).requires_grad_().clone())
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return found[0]
    if len(modules) < len(list(model.modules())):
        return "it runs as optimised TorchScript, which may keep none"
    if any(tensor.requires_grad for tensor in tensors_in(output)):
        return "values are rounded on the way, or pass an operator whose gradient is not known"
    return "its forward pass takes values out of the graph (.detach(), .data, NumPy, whole numbers), or gives constants"


def _finding_modes(found: list[str], name: str) -> Any:
    def find(_module: nn.Module, _inputs: Any) -> None:
        if not torch.is_grad_enabled():
            mode = "inference_mode" if torch.is_inference_mode_enabled() else "no_grad"
            found.append(f"torch.{mode}() is on where its layer {name!r} runs")

    return find


def _finding_losses(found: list[str], name: str) -> Any:
    def find(module: nn.Module, inputs: Any, output: Any) -> None:
        outputs = list(tensors_in(output))
        lost = torch.is_grad_enabled() and outputs and not any(map(_carries, outputs))
        if lost and any(map(_carries, tensors_in(inputs))):
            kind = "quantised " if "quantized" in type(module).__module__ else ""
            found.append(f"its layer {name!r}, a {kind}{type(module).__name__}, passes none on")

    return find


def _carries(tensor: Tensor) -> bool:
    """Whether a tensor carries a gradient, by a node that is no step."""
    return tensor.requires_grad and not (tensor.grad_fn is not None and _is_step(tensor.grad_fn))
