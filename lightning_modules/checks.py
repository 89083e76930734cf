"""Refuses options of a module that are out of range, or do not go with the data."""

import math
from collections.abc import Sequence

from vitrine.explainers import Explainer
from vitrine.explainers.x_feature_explainer import XFeatureExplainer
from vitrine.preprocessing import Preprocessing


def check_at_least_0(**numbers: float) -> None:
    """Raises ValueError, with the option's name, for a number that is negative, infinite or none."""
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; give 0 or more.")


def check_above_0(**numbers: float) -> None:
    """Raises ValueError, with the option's name, for a number that is not above 0, infinite or none."""
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; give a finite number above 0.")


def check_positive_weight(weight: float | str) -> None:
    """Raises ValueError for a weight of a class's own images that is neither ``balanced`` nor above 0."""
    if weight != "balanced" and not 0 < float(weight) < math.inf:
        raise ValueError(f"positive_weight is {weight}; give a finite number above 0, or balanced.")


def check_image_size(explainer: Explainer, preprocessing: Preprocessing) -> None:
    """Raises ValueError where heads were made for other positions of the layer than the data set's images have."""
    if not isinstance(explainer, XFeatureExplainer) or explainer.features.pooling not in {"flatten", "positions"}:
        return
    if explainer.image_size != preprocessing.size:
        raise ValueError(
            f"pooling {explainer.features.pooling} needs images of one size: model.init_args.image_size is"
            f" {explainer.image_size}, data.init_args.preprocessing.size is {preprocessing.size}; give the same."
        )


def check_classes(explained: Sequence[int], count: int) -> None:
    """Raises ValueError where a class is to be explained that is none of the data set's ``count``."""
    if max(explained, default=-1) >= count:
        raise ValueError(
            f"The backbone's class {max(explained)} is to be explained, but the data set has {count} classes; give a backbone"
            " that was trained on it, or those of its classes as model.init_args.explained_classes."
        )
