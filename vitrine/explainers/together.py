"""Several explainers on the same images, where attribution methods share what they can of one forward pass."""

from collections.abc import Mapping

from torch import Tensor

from vitrine.attribution.together import attribute_together
from vitrine.core.explanation import Explanation
from vitrine.explainers.attribution.explainer import AttributionExplainer
from vitrine.explainers.base import Explainer, Target, target_classes


def explain_together(
    explainers: Mapping[str, Explainer], images: Tensor, logits: Tensor, target: Target = None
) -> dict[str, Explanation]:
    """What `Explainer.explain` of each gives, by name.

    Args:
        explainers: of one network, by any names.
        images: (B, C, H, W) as the network takes them.
        logits: (B, C) of these images.
        target: as in `Explainer.explain`.

    Raises:
        ValueError: as `Explainer.explain` of each.
    """
    classes = target_classes(target, logits.argmax(dim=1), logits.shape[1])
    drawn = {name: one for name, one in explainers.items() if isinstance(one, AttributionExplainer)}
    maps = attribute_together({name: one.prepared_method() for name, one in drawn.items()}, images, classes)
    found: dict[str, Explanation] = {}
    for name, explainer in explainers.items():
        if isinstance(explainer, AttributionExplainer):
            of_method = maps[name].detach().float()
            found[name] = explainer.explanation_of_logits(images, logits, classes, maps=of_method)
        else:
            found[name] = explainer.explain(images, classes)
    return found
