"""What is served: saved explainers and methods by name, each made once, networks with other weights apart."""

from pathlib import Path

import pytest

from vitrine.serve.options import ServeOptions
from vitrine.serve.served import ServedNetwork, served_networks

NETWORK = "vitrine.data.an8flower.network:FlowerNet"


def test_a_saved_explainer_and_all_methods_by_name(served: ServedNetwork) -> None:
    assert len(served.saved) == 1
    assert served.first == served.names[:1] == list(served.saved)
    assert {"GradCAM", "ExcitationBackprop", "InversionMask"} <= set(served.names)
    assert served.names.index("Saliency") < served.names.index("RISE")  # which is slow
    assert served.explainer("Saliency") is served.explainer("Saliency")
    with pytest.raises(ValueError, match="near names"):
        served.explainer("Salience")


def test_a_network_and_its_explainer_are_served_together(served_folder: Path, flower_weights: Path) -> None:
    options = ServeOptions(
        [str(served_folder)], NETWORK, str(flower_weights), methods=["EBP", "inversion"], size=48, device="cpu"
    )
    (found,) = served_networks(options).values()
    assert list(found.first) == [*found.saved, "EBP", "InversionMask"]


def test_networks_of_other_weights_are_told_apart(served_folder: Path) -> None:
    options = ServeOptions([str(served_folder)], NETWORK, "none", size=48, device="cpu")
    names = list(served_networks(options))
    assert len(set(names)) == 2
    assert all(name.startswith("FlowerNet (") for name in names)


def test_methods_that_suit_the_network_where_none_is_named(flower_weights: Path) -> None:
    (found,) = served_networks(ServeOptions((), NETWORK, str(flower_weights), size=48, device="cpu")).values()
    assert list(found.first) == ["GradCAM", "EBP", "LRP"]
