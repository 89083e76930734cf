"""Short names of attribution methods on command lines: ``EBP``, ``IG``, ``Grad-CAM``, in any spelling of case and hyphens."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from vitrine.attribution.registry import all_methods
from vitrine.core.near_names import near_names


class NamedMethod(NamedTuple):
    """A method and the arguments that its short name stands for."""

    method: str
    """Name of its class."""
    arguments: Mapping[str, Any]


SHORT: Mapping[str, NamedMethod] = {
    "ebp": NamedMethod("ExcitationBackprop", {"contrastive": True}),
    "cebp": NamedMethod("ExcitationBackprop", {"contrastive": True}),
    "cmwp": NamedMethod("ExcitationBackprop", {"contrastive": True}),
    "mwp": NamedMethod("ExcitationBackprop", {}),
    "gradient": NamedMethod("Saliency", {}),
    "ig": NamedMethod("IntegratedGradients", {}),
    "gbp": NamedMethod("GuidedBackprop", {}),
    "guidedgradcam++": NamedMethod("GuidedGradCAMPlusPlus", {}),
    "gradcam++": NamedMethod("GradCAMPlusPlus", {}),
    "rollout": NamedMethod("AttentionRollout", {}),
}
"""By the short name in small letters; ``EBP`` is contrastive, as maps of the plain one hardly depend on the class."""


def plain(name: str) -> str:
    """A name without case, hyphens, underscores and spaces, and with mu for μ.

    Example:
        >>> plain("Grad-CAM")
        'gradcam'
    """
    return re.sub(r"[-_\s]", "", name).casefold().replace("μ", "mu")


def find_method(name: str, others: Mapping[str, Any] | None = None) -> NamedMethod:
    """The method that a short or full name means.

    Args:
        name: as a person writes it.
        others: further names that may stand in its place, for the message.

    Raises:
        ValueError: for an unknown name, with near ones.

    Example:
        >>> find_method("grad-cam").method, find_method("EBP").method
        ('GradCAM', 'ExcitationBackprop')
    """
    wanted, full = plain(name), {plain(method): method for method in all_methods()}
    if wanted in SHORT:
        return SHORT[wanted]
    if wanted in full:
        return NamedMethod(full[wanted], {})
    known = [*all_methods(), *(others or {}), "EBP", "IG"]
    raise ValueError(f"There is no method {name!r}; near names: {', '.join(near_names(name, known))}.")
