"""The benchmark on MNIST: its reader, its network, what it counts, and the whole of it on a few made-up digits."""

import gzip
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torchvision.datasets import MNIST

from benchmarks.mnist import __main__ as benchmark
from benchmarks.mnist.data import DigitCNN, Digits, read_digits, read_idx, trained_network
from benchmarks.mnist.selection import LAYER_SETS, Selection, explainer_of, paper_unit, responses_of, selections_of
from benchmarks.mnist.worth import Ablation, beginnings, mean_auc, overlap, reconstruction_curve
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers.mu_lasso.fit import MuLassoFit
from vitrine.filters.layers import response_layers
from vitrine.filters.responses import FilterResponses
from vitrine.filters.scaling import SCALINGS, Scaling

COUNTS = {"train": 300, "t10k": 40}


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """A gzipped file as the official archives are: 0, 0, type 8, dimensions, big-endian sizes, bytes."""
    head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(head + values.tobytes()))


@pytest.fixture(scope="module")
def mnist_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits of ten classes: each its own blots, with noise."""
    root = tmp_path_factory.mktemp("mnist")
    (root / "MNIST" / "raw").mkdir(parents=True)
    generator = np.random.default_rng(0)
    blots = np.kron(generator.integers(0, 2, (10, 7, 7)), np.ones((4, 4))) * 150
    for split, count in COUNTS.items():
        labels = generator.permutation(np.arange(count) % 10)
        images = (blots[labels] + generator.integers(0, 105, (count, 28, 28))).astype(np.uint8)
        write_idx(root / "MNIST" / "raw" / f"{split}-images-idx3-ubyte.gz", images)
        write_idx(root / "MNIST" / "raw" / f"{split}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def digits(mnist_root: Path) -> Digits:
    return read_digits(mnist_root, "train")


@pytest.fixture(scope="module")
def backbone(digits: Digits) -> FrozenBackbone:
    return FrozenBackbone(trained_network(digits, epochs=3, seed=0, device="cpu", weights=None))


@pytest.fixture(scope="module")
def responses(backbone: FrozenBackbone, digits: Digits) -> Tensor:
    return responses_of(explainer_of(backbone, "All", "paper"), digits, "cpu", "")


@pytest.fixture(scope="module")
def selections(backbone: FrozenBackbone, responses: Tensor, digits: Digits) -> dict[str, Selection]:
    """Of OnlyMaps, by scaling."""
    found = selections_of(backbone, "OnlyMaps", responses, digits.labels, 10.0)
    return {selection.scaling: selection for selection in found}


# The reader


@pytest.mark.parametrize(("split", "train"), [("train", True), ("t10k", False)])
def test_torchvision_reads_the_same(mnist_root: Path, tmp_path: Path, split: str, train: bool) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in (mnist_root / "MNIST" / "raw").iterdir():
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
    outside = MNIST(str(tmp_path), train=train)
    found = read_digits(mnist_root, split)
    assert torch.equal(found.images, outside.data)
    assert torch.equal(found.labels, outside.targets)


def test_real_test_digits(real_data: Path) -> None:
    found = read_digits(real_data, "t10k")
    assert found.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert found.labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_inputs_have_the_training_digits_mean_and_three_equal_channels() -> None:
    images = torch.zeros(2, 28, 28, dtype=torch.uint8)
    images[1] = 255
    inputs = Digits(images, torch.zeros(2, dtype=torch.int64)).inputs()
    assert inputs.shape == (2, 3, 28, 28)
    assert inputs[0, :, 3, 4].tolist() == pytest.approx([-0.1307 / 0.3081] * 3)
    assert inputs[1, :, 3, 4].tolist() == pytest.approx([0.8693 / 0.3081] * 3)


def damaged(mnist_root: Path, folder: Path, name: str, content: bytes) -> Path:
    """A copy of the set whose file of that name has other content."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in (mnist_root / "MNIST" / "raw").iterdir():
        (raw / archive.name).write_bytes(content if archive.name == name else archive.read_bytes())
    return raw / name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], "not a whole gzip archive"),
        (lambda _: b"no archive", "not a whole gzip archive"),
        (lambda whole: whole[:40] + bytes(40) + whole[80:], "not a whole gzip archive"),
        (lambda whole: gzip.compress(gzip.decompress(whole)[:-7]), r"of data, where its head promises 235200\."),
        (lambda whole: gzip.compress(b"\0\0\x09\3" + gzip.decompress(whole)[4:]), "does not begin as an idx file"),
        (lambda _: gzip.compress(b"\0\0\x08\3\0\0"), "does not begin as an idx file"),
        (lambda _: gzip.compress(b""), "does not begin as an idx file"),
    ],
)
def test_a_damaged_archive_is_named(mnist_root: Path, tmp_path: Path, change: Any, message: str) -> None:
    name = "train-images-idx3-ubyte.gz"
    path = damaged(mnist_root, tmp_path, name, change((mnist_root / "MNIST" / "raw" / name).read_bytes()))
    with pytest.raises(ValueError, match=message) as raised:
        read_idx(path)
    assert str(path) in str(raised.value)


def test_archives_that_do_not_belong_together(mnist_root: Path, tmp_path: Path) -> None:
    name = "train-labels-idx1-ubyte.gz"
    other = (mnist_root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").read_bytes()
    damaged(mnist_root, tmp_path, name, other)
    with pytest.raises(ValueError, match=r"\(300, 28, 28\) and 40 labels"):
        read_digits(tmp_path, "train")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz does not exist; --root"):
        read_digits(tmp_path, "train")


# The network


def test_it_is_matconvnets_network() -> None:
    network = DigitCNN()
    sizes = [5 * 5 * 20 + 20, 20 * 5 * 5 * 50 + 50, 50 * 4 * 4 * 500 + 500, 500 * 10 + 10]
    assert sum(parameter.numel() for parameter in network.parameters()) == sum(sizes)
    layers = response_layers(network, 28, LAYER_SETS["All"])
    assert [(layer.name, layer.width) for layer in layers] == list(
        zip(LAYER_SETS["All"], [20, 20, 50, 50, 500, 500], strict=True)
    )


@pytest.mark.parametrize("chosen", ["all", "conv"])
def test_without_activations_all_layers_are_convolutional(chosen: Any) -> None:
    assert tuple(layer.name for layer in response_layers(DigitCNN(), 28, chosen)) == LAYER_SETS["OnlyConv"]


def test_weights_are_kept_and_read_again(digits: Digits, tmp_path: Path) -> None:
    weights = tmp_path / "new" / "net.safetensors"
    first = trained_network(digits, epochs=1, seed=1, device="cpu", weights=weights)
    assert [path.name for path in weights.parent.iterdir()] == ["net.safetensors"]
    again = trained_network(digits, epochs=10**9, seed=2, device="cpu", weights=weights)
    other = trained_network(digits, epochs=1, seed=2, device="cpu", weights=None)
    assert torch.equal(first.fc.weight, again.fc.weight)
    assert not torch.equal(first.fc.weight, other.fc.weight)
    assert not again.training


# Selection


@pytest.mark.parametrize("layers", LAYER_SETS)
def test_the_responses_of_a_layer_set_are_the_first_of_all(
    backbone: FrozenBackbone, digits: Digits, responses: Tensor, layers: str
) -> None:
    own = FilterResponses(backbone, LAYER_SETS[layers], image_size=28)(digits.inputs(slice(0, 7)))["features"]
    torch.testing.assert_close(own, responses[:7, : own.shape[1]])


def test_units_of_mu(backbone: FrozenBackbone, responses: Tensor) -> None:
    own = responses[:, :140].clone()
    own[:, 3] = 0
    units = {scaling: paper_unit(explainer_of(backbone, "OnlyMaps", scaling), own) for scaling in SCALINGS}
    alive = own[:, [index for index in range(140) if index != 3]].double()
    norms, deviations = alive.norm(dim=0), alive.std(dim=0, correction=0)
    assert units["paper"] == 1
    assert units["width"] == pytest.approx(1 / 50)
    assert units["unit"] == pytest.approx(1 / float((1 / norms).median()))
    assert units["standardized"] == pytest.approx(1 / float((1 / deviations).median()), rel=1e-4)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("mu", [1.0, 30.0])
def test_another_mu_is_that_of_a_fit_of_its_own(
    backbone: FrozenBackbone,
    responses: Tensor,
    digits: Digits,
    selections: dict[str, Selection],
    scaling: Scaling,
    mu: float,
) -> None:
    selection = selections[scaling]
    selection.use(mu)
    explainer = explainer_of(backbone, "OnlyMaps", scaling)
    alone = MuLassoFit(explainer, samples=0)  # on the responses themselves, not on sums
    alone.update(responses[:, :140], digits.labels)
    alone.finish(mu * selection.unit)
    found = selection.scores(responses)
    torch.testing.assert_close(found, explainer.class_scores(responses[:, :140]).detach(), rtol=1e-3, atol=1e-3)
    norms = selection.explainer.weights.detach().abs().sum(dim=0)
    assert float(norms.max()) <= mu * selection.unit * (1 + 1e-5)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_what_is_counted(selections: dict[str, Selection], scaling: str) -> None:
    selection = selections[scaling]
    figures = selection.figures(10.0)
    weights = selection.explainer.weights.detach()
    assert figures["filters"] == int((weights != 0).any(dim=1).sum()) == len(selection.ranked(10.0))
    assert figures["picks"] == int((weights != 0).sum())
    assert [layer["picks"] for layer in figures["layers"]] == [
        int((part != 0).sum()) for part in weights.split([20, 20, 50, 50])
    ]
    assert figures["relative_gap"] <= 1e-6
    assert figures["mu_of_scaled"] == 10.0 * selection.unit


# Ablation


WIDTHS = {"conv1": 20, "pool1": 20, "conv2": 50, "pool2": 50, "conv3": 500, "relu3": 500}


def test_without_the_last_maps_one_class_is_left(backbone: FrozenBackbone, digits: Digits) -> None:
    ablation = Ablation(backbone.model, WIDTHS, draws=2, seed=0)
    everything = [("relu3", channel) for channel in range(500)]
    nothing, all_off, few = ablation.measure([[], everything, everything[:3]], digits, "cpu", "")
    assert all_off == {
        "filters": 500,
        "accuracy": pytest.approx(0.1),
        "random": [pytest.approx(0.1)] * 2,
        "overlap": 1.0,
    }
    with torch.no_grad():
        hits = backbone.model(digits.inputs()).argmax(dim=1) == digits.labels
    assert nothing["accuracy"] == pytest.approx(float(hits.float().mean()))  # as many digits of each class
    assert nothing["random"] == [nothing["accuracy"]] * 2
    assert nothing["accuracy"] > 0.9
    assert (few["filters"], few["overlap"]) == (3, 0)


def test_overlap_is_a_share_of_what_is_drawn() -> None:
    chosen = [("a", 0), ("a", 1), ("b", 0)]
    assert overlap(chosen, [[("a", 1), ("a", 2), ("b", 1)], chosen]) == pytest.approx(4 / 6)
    assert overlap([], [[], []]) == 0


@pytest.mark.parametrize(
    ("count", "lengths"), [(0, [0]), (1, [1]), (2, [1, 2]), (7, [1, 2, 5, 7]), (10, [1, 2, 5, 10])]
)
def test_beginnings(count: int, lengths: list[int]) -> None:
    ranked = [("a", channel) for channel in range(count)]
    found = beginnings(ranked)
    assert [len(filters) for filters in found] == lengths
    assert all(filters == ranked[: len(filters)] for filters in found)


# Reconstruction


@pytest.mark.parametrize("scaling", SCALINGS)
def test_reconstruction_is_sklearns_area(
    selections: dict[str, Selection], responses: Tensor, digits: Digits, scaling: str
) -> None:
    selection = selections[scaling]
    selection.use(2.0)
    scores = selection.scores(responses).numpy()
    hot = np.eye(10)[digits.labels.numpy()]
    expected = roc_auc_score(hot, scores, average="macro")
    assert mean_auc(selection, responses, digits.labels) == pytest.approx(expected, abs=1e-5)
    (row,) = reconstruction_curve(selection, [2.0], {"train": (responses, digits.labels)})
    assert row == {"mu": 2.0, "filters": len(selection.ranked(2.0)), "train": pytest.approx(expected, abs=1e-5)}


# The command line


def test_the_whole_benchmark(
    mnist_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "mnist.json"
    options = ["--root", str(mnist_root), "--epochs", "3", "--draws", "2", "--device", "cpu", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["mnist", *options])
    monkeypatch.setattr(benchmark, "CURVE_MUS", (1.0, 5.0))
    benchmark.main()
    found = json.loads(out.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert list(found["selection"]) == ["All", "OnlyConv", "OnlyMaps"]
    for of in found["selection"].values():
        assert list(of) == list(SCALINGS)
        assert all(figures["relative_gap"] <= 1e-6 for figures in of.values())
    assert found["ablation"]["original"] > 0.9
    mus = {row["mu"] for row in found["ablation"]["sets"]}
    assert 10.0 in mus
    assert len(found["ablation"]["sets"]) == 3 * 4 * len(mus)
    assert all(len(row["random"]) == 2 for row in found["ablation"]["sets"])
    assert found["curves"]["All"][-1]["filters"] == max(row["filters"] for row in found["curves"]["All"])
    assert all(0.5 < row["train"] <= 1 for row in found["reconstruction"]["All"]["paper"])
    pictures = [tmp_path / "runs" / f"mnist_{scaling}.png" for scaling in SCALINGS]
    assert all(Image.open(picture).height > 10 * 112 for picture in pictures)
    printed = capsys.readouterr().out
    assert "filters in the paper: All 92 | OnlyConv 101" in printed
