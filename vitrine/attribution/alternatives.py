"""Alternatives to a method that refuses a network: one that works on this very network, for the sentence of the refusal."""

from torch import Tensor, nn

from vitrine.attribution.target_layer import target_layer


def working_method(model: nn.Module, inputs: Tensor) -> str:
    """The name of a method that explains the classes of a network: ``GradCAM`` where a layer can be drawn, else ``Saliency``.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits that a gradient leads back from; under `eval_guard`.
        inputs: (B, C, H, W); their values are not used, their size is.
    """
    try:
        target_layer(model, inputs)
    except ValueError:
        return "Saliency"
    return "GradCAM"
