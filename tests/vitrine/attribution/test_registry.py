"""The registry of methods: derived from the exports, with near names for unknown ones."""

import inspect

import pytest

from vitrine import attribution
from vitrine.attribution import Method
from vitrine.attribution.registry import all_methods, method_named

PUBLIC = {
    "Deconvnet", "GuidedBackprop", "ExcitationBackprop", "UpsampledActivation", "CAM", "GradCAM", "GradCAMPlusPlus",
    "LayerCAM", "ScoreCAM", "GuidedGradCAM", "GuidedGradCAMPlusPlus", "Saliency", "IntegratedGradients", "SmoothGrad",
    "LRP", "Occlusion", "MeaningfulPerturbation", "RISE", "ExtremalPerturbation", "Center", "InversionMask",
}  # fmt: skip
"""Names that have been public since they were released; methods may be added, but none may go."""


def test_public_names_stay() -> None:
    assert set(all_methods()) >= PUBLIC
    assert set(all_methods()) == set(attribution.__all__) - {"Method", "excitation_maps", "relevance_maps"}


def test_a_method_by_its_name() -> None:
    for name, method in all_methods().items():
        assert method_named(name) is method is getattr(attribution, name)
        assert method.__name__ == name
        assert issubclass(method, Method)
        assert not inspect.isabstract(method)


def test_an_unknown_name_gets_near_names() -> None:
    with pytest.raises(ValueError, match="no attribution method named 'ExcitationBackpropp'; near names: Excitation"):
        method_named("ExcitationBackpropp")
    with pytest.raises(ValueError, match="no attribution method named 'Method'"):
        method_named("Method")
