"""Excitation backprop from the explained logit itself, to set beside a few x-features (Qi et al. 2018, figures 4 and 5)."""

from torch import Tensor

from vitrine.attribution.excitation_backprop import ExcitationBackprop
from vitrine.explainers.base import Explainer, Target

LOGIT_MAP = "EBP of the logit"
"""Its label."""


def logit_maps(explainer: Explainer, images: Tensor, target: Target = None, *, internal_batch_size: int = 16) -> Tensor:
    """The backbone's own excitation backprop of ŷ, of the same kind as the explainer's heatmaps where it has one.

    Args:
        explainer: its backbone is looked into; it is the same afterwards.
        images: (B, 3, H, W) as the backbone takes them.
        target: the explained classes, as in `Explainer.explain`.
        internal_batch_size: images that are explained at once; a bound on memory that changes no result.

    Returns:
        (B, 1, H, W): c-MWP, or MWP where the explainer's heatmaps are; neither clamped nor rescaled.

    Raises:
        ValueError: where the backbone has an operator that excitation backprop has no rule for.
    """
    method = ExcitationBackprop(
        explainer.backbone.model,
        contrastive=getattr(explainer, "contrastive", True),
        negative_activations=getattr(explainer, "negative_activations", "clamp"),
        internal_batch_size=internal_batch_size,
    )
    return method.attribute(images, target)
