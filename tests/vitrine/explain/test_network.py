import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import squeezenet1_1

from tests.helpers.flower_pictures import NETWORK, WEIGHTS
from vitrine.attribution import GradCAM
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.weight_files import PREPROCESSING
from vitrine.data.preprocessing import Preprocessing
from vitrine.explain.network import ExplainedNetwork, explained_network, library_name, place, prepared_input
from vitrine.explain.options import ExplainOptions
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions

COLOURS = ["red", "orange", "yellow", "blue", "violet", "pink"]


def test_names_come_with_the_weights(flower_network: ExplainedNetwork) -> None:
    assert flower_network.classes.names() == COLOURS
    assert flower_network.names_from == "recorded with the weights"
    assert flower_network.preprocessing.size == 48


def test_names_come_from_a_file(tmp_path: Path, flower_options: ExplainOptions) -> None:
    names = tmp_path / "labels.json"
    names.write_text(json.dumps({"id2label": {str(index): f"petal {index}" for index in range(6)}}))
    network = explained_network(replace(flower_options, classes=names))
    assert network.classes.names()[5] == "petal 5"
    names.write_text(json.dumps(["a", "b"]))
    with pytest.raises(ValueError, match="has 2 names, and the network has 6 logits"):
        explained_network(replace(flower_options, classes=names))


def test_a_file_of_1000_logits_has_the_names_of_imagenet_and_says_so(tmp_path: Path) -> None:
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "net.pth")
    options = ExplainOptions(tmp_path, "squeezenet1_1", weights=str(tmp_path / "net.pth"), size=64, device="cpu")
    network = explained_network(options)
    assert network.classes.names()[146] == "albatross"
    assert "ImageNet" in network.names_from
    assert network.index_of("Black Swan") == 100
    assert network.index_of("146") == 146
    with pytest.raises(ValueError, match=r"--target 'albatros'.*near names: albatross"):
        network.index_of("albatros")


def test_random_weights_have_no_names_and_are_drawn_by_the_seed(tmp_path: Path) -> None:
    options = ExplainOptions(tmp_path, "squeezenet1_1", weights="none", num_classes=3, size=64, device="cpu")
    first, second, other = (explained_network(replace(options, seed=seed)) for seed in (1, 1, 2))
    assert first.classes.names() == ["class 0", "class 1", "class 2"]
    assert first.backbone.digest == second.backbone.digest != other.backbone.digest
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    explained_network(options)
    assert torch.equal(torch.rand(1), wanted)  # the caller's generator stays as it is


def test_a_saved_explainer_names_its_network(tmp_path: Path, flower_network: ExplainedNetwork) -> None:
    options = AttributionOptions("GradCAM", image_size=48)
    AttributionExplainer(flower_network.backbone, options, *flower_network.known).save(tmp_path / "saved")
    network = explained_network(ExplainOptions(tmp_path, str(tmp_path / "saved"), device="cpu"))
    assert network.classes.names() == COLOURS
    assert network.preprocessing == flower_network.preprocessing
    assert isinstance(network.explainer, AttributionExplainer)
    assert isinstance(network.explainer.method, GradCAM)
    with pytest.raises(ValueError, match="--size is 64; give 48, which the explainer was made for"):
        explained_network(ExplainOptions(tmp_path, str(tmp_path / "saved"), size=64, device="cpu"))


def test_networks_are_known_by_the_names_of_their_libraries(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert library_name("resnet18") == "resnet18"
    assert library_name("resnet18d") == "timm:resnet18d"
    assert library_name(str(tmp_path)) == f"hf:{tmp_path}"
    assert library_name("no_such_net") == "no_such_net"


def test_the_input_has_a_size_that_works_and_the_channels_of_the_network() -> None:
    grey = FrozenBackbone(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 2)))
    assert prepared_input(FrozenBackbone(NETWORK, WEIGHTS), 50).resize == 57
    assert (prepared_input(grey).size, prepared_input(grey).mode) == (28, "L")
    with pytest.raises(ValueError, match="--size is 30; give 28, which works"):
        prepared_input(grey, 30)


def test_our_own_weights_say_how_images_were_prepared(tmp_path: Path) -> None:
    prepared, path = Preprocessing(40, 44, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)), tmp_path / "classifier.safetensors"
    state = FrozenBackbone(NETWORK, WEIGHTS).model.state_dict()
    save_file(state, path, metadata={PREPROCESSING: prepared.key, "num_classes": "6"})
    assert prepared_input(FrozenBackbone(NETWORK, path)) == prepared
    assert prepared_input(FrozenBackbone(NETWORK, path), 80) == replace(prepared, size=80, resize=88)
    save_file(state, path, metadata={PREPROCESSING: '{"size": -1}'})
    with pytest.raises(ValueError, match=r"classifier\.safetensors has a damaged entry 'preprocessing': size is -1"):
        prepared_input(FrozenBackbone(NETWORK, path))


def test_a_device_that_is_not_there_is_a_sentence(flower_network: ExplainedNetwork) -> None:
    with pytest.raises(ValueError, match="--device nonsense cannot be used"):
        place(flower_network.backbone, "nonsense")
