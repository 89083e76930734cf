"""Checks that saved heads, options and data go together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vitrine.backbones.pooling import OVER_PLACES
from vitrine.core.options import OptionError
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import Explainer
from vitrine.explainers.attribution import AttributionExplainer
from vitrine.explainers.inversion.explainer import InversionExplainer
from vitrine.explainers.masking.explainer import MaskingExplainer
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer
from vitrine.explainers.srae.x_features import XFeatureExplainer

SIZED = XFeatureExplainer | MuLassoExplainer | InversionExplainer | AttributionExplainer | MaskingExplainer
"""Explainers with an image size among their options."""


def meaning_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of an explainer's options without which its heads would be about something else, though numbers may fit."""
    meaning = ("explainer", "layer", "mask_layers", "pooling", "explained_classes")
    return {name: options[name] for name in meaning if name in options}


def first_difference(state: Mapping[str, Any], saved: Mapping[str, Any]) -> str:
    """A message about the first entry in which two state dicts differ."""
    for name in sorted(set(state) ^ set(saved)):
        return f"{name!r} stands in {'the checkpoint' if name in saved else 'the module'} alone"
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape != saved[name].shape:
            return f"{name!r} is of shape {tuple(saved[name].shape)} in the checkpoint, of {tuple(value.shape)} here"
    return "they cannot be read"


def check_image_size(explainer: Explainer, preprocessing: Preprocessing | None, key: str) -> None:
    """Raises ValueError where the data set's images have a size for which the heads, or the backbone, were not made.

    Args:
        explainer: whose image size it is.
        preprocessing: of the data set; nothing is checked where it has none.
        key: of the explainer's option, as a configuration has it.
    """
    if not isinstance(explainer, SIZED):
        return
    if preprocessing is None or explainer.options.image_size == preprocessing.size:
        return
    own = "data.init_args.preprocessing.size"
    if isinstance(explainer, XFeatureExplainer) and explainer.features.pooling in {"flatten", *OVER_PLACES}:
        raise ValueError(
            f"pooling {explainer.features.pooling} needs images of one size: model.init_args.{key} is"
            f" {explainer.options.image_size}, {own} is {preprocessing.size}; give the same."
        )
    try:
        if isinstance(explainer, XFeatureExplainer):
            explainer.features.sizes(preprocessing.size)
        else:
            explainer.check_size(preprocessing.size)
    except OptionError as error:
        name = own if error.name == "image_size" else f"{own}: {error.name}"
        raise OptionError(name, error.value, error.wanted) from error


@contextmanager
def drawn_by(seed: int | None) -> Iterator[None]:
    """Within it, a seed draws what is random on the CPU, and nothing outside notices; without one, all is as ever."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def options_located(key: str) -> Iterator[None]:
    """Within it, options that are refused are named as a configuration has them.

    Args:
        key: of the options that the explainer takes, such as ``model.init_args.srae``.
    """
    try:
        yield
    except OptionError as error:
        raise OptionError(f"{key}.{error.name}", error.value, error.wanted) from error


def check_drawable(explainer: Explainer, key: str) -> None:
    """Raises ValueError before a fit where what it gives could not be drawn.

    Args:
        explainer: which is fitted.
        key: of its options, see `options_located`.
    """
    if isinstance(explainer, XFeatureExplainer | MuLassoExplainer | AttributionExplainer):
        with options_located(key):
            explainer.check_drawable()
