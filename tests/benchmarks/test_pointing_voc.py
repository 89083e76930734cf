"""The pointing game's benchmark on ten images, its halves, its head, and what it makes of a map."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.optimize import minimize
from torch import Tensor, nn

from benchmarks.method_maps import spread
from benchmarks.method_table import METHODS, Entry, strongest, summed
from benchmarks.pointing_voc import Game, as_explanation, main
from benchmarks.voc_head import (
    PooledClassifier,
    features_of,
    fit_halves,
    fit_logistic_regression,
    halves_of,
    mean_average_precision,
    pooled_features,
)
from vitrine.attribution import Method
from vitrine.attribution.targets import Target
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converters.voc import list_voc
from vitrine.data.shards.sample import Sample
from vitrine.explainers import InversionExplainer
from vitrine.explainers.inversion.explainer import InversionOptions


@pytest.fixture
def run(voc_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command line on VOCdevkit's five test images, and reads the JSON."""

    def command(*options: str) -> dict[str, Any]:
        out = tmp_path / "runs" / "figures.json"
        given = ["--root", str(voc_root), "--size", "64", "--device", "cpu", "--out", str(out), *options]
        monkeypatch.setattr(sys, "argv", ["pointing_voc", *given])
        main()
        figures: dict[str, Any] = json.loads(out.read_text(), parse_constant=pytest.fail)
        return figures["networks"]

    return command


# The command line


def test_every_pair_is_played_once(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("--networks", "squeezenet1_1", "--methods", "Center", "CAM", "Saliency")["squeezenet1_1"]
    assert 0 < found["mean_average_precision"] <= 1
    assert list(found["methods"]) == ["Center", "CAM", "Saliency"]
    for figures in found["methods"].values():
        # 000006: dog, cat; 000007: none; 000008: person; 000009: sofa, cat; 000010: person, dog
        assert (figures["images"], figures["pairs"], figures["skipped"]) == (4, 7, 0)
        assert figures["hits"] + figures["misses"] + figures["degenerate"] == 7
    # The centre is within 15 pixels of each box of these small images.
    assert (found["methods"]["Center"]["hits"], found["methods"]["Center"]["all"]) == (7, 1.0)
    assert "without_blur" not in found["methods"]["Center"]
    assert found["methods"]["Saliency"]["without_blur"]["pairs"] == 7
    assert "Saliency" in capsys.readouterr().out


def test_the_images_are_those_that_were_asked_for(run: Any) -> None:
    options = ["--networks", "squeezenet1_1", "--methods", "Center", "SmoothGrad", "--slow-images", "2"]
    found = run(*options, "--count", "3")["squeezenet1_1"]["methods"]
    assert (found["Center"]["images"], found["SmoothGrad"]["images"]) == (3, 2)
    assert found["SmoothGrad"]["options"] == {"n_samples": 15}
    assert run(*options[:-2], "--slow-images", "0")["squeezenet1_1"]["methods"]["SmoothGrad"]["images"] == 4


def test_a_method_that_refuses_a_network_says_why(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("--networks", "mobilenet_v2", "--methods", "AttentionRollout", "Center", "--count", "1")[
        "mobilenet_v2"
    ]["methods"]
    assert set(found["AttentionRollout"]) == {"refused"}
    assert "attention over all tokens" in found["AttentionRollout"]["refused"]
    assert found["Center"]["images"] == 1
    assert "attention over all tokens" in capsys.readouterr().out


def test_an_interrupted_run_keeps_what_it_had(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_model: nn.Module, _layer: str | None) -> Method:
        raise KeyboardInterrupt

    monkeypatch.setitem(METHODS, "CAM", Entry(interrupted))
    with pytest.raises(KeyboardInterrupt):
        run("--networks", "squeezenet1_1", "--methods", "Center", "CAM")
    kept = json.loads((tmp_path / "runs" / "figures.json").read_text())
    assert list(kept["networks"]["squeezenet1_1"]["methods"]) == ["Center"]


def test_shares_without_pairs_are_absent(run: Any, voc_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("--split", "val", "--networks", "squeezenet1_1", "--methods", "Center")["squeezenet1_1"]["methods"]
    assert (found["Center"]["pairs"], found["Center"]["difficult"]) == (2, None)  # two images of one class each
    assert "–" in capsys.readouterr().out


def test_a_network_without_features_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no part named 'features'"):
        features_of(nn.Linear(2, 2))


@pytest.mark.parametrize(("count", "expected"), [(0, [3, 4, 7, 9]), (2, [3, 7]), (4, [3, 4, 7, 9]), (9, [3, 4, 7, 9])])
def test_a_part_of_the_images_is_spread_evenly(count: int, expected: list[int]) -> None:
    assert spread([3, 4, 7, 9], count) == expected


# Halves and head


@given(st.integers(2, 300), st.integers(0, 5))
def test_each_image_is_in_one_half(count: int, seed: int) -> None:
    first, second = halves_of(count, seed)
    assert sorted([*first, *second]) == list(range(count))
    assert len(second) - len(first) in {0, 1}
    assert halves_of(count, seed) == (first, second)


def test_a_head_has_not_seen_what_it_is_tested_on() -> None:
    pooled, labels = random_features(40)
    features = nn.Conv2d(3, 6, 1)
    halves = fit_halves(features, pooled, labels, 0.1, seed=3)
    assert sorted(number for half in halves for number in half.tested) == list(range(40))
    for number, half in enumerate(halves):
        other_pooled, other_labels = pooled.clone(), labels.clone()
        other_pooled[half.tested] += 1
        other_labels[half.tested] = 1 - other_labels[half.tested]
        again = fit_halves(features, other_pooled, other_labels, 0.1, seed=3)[number]
        assert torch.equal(again.network.classifier.weight, half.network.classifier.weight)
        assert torch.equal(again.network.classifier.bias, half.network.classifier.bias)  # type: ignore[arg-type]


def test_a_mirror_image_has_the_labels_of_its_image() -> None:
    pooled, labels = random_features(40)
    first, second = halves_of(40, 3)
    seen = torch.cat([pooled[second, 0], pooled[second, 1]])
    weights, bias = fit_logistic_regression(seen, torch.cat([labels[second]] * 2), 0.1)
    half = fit_halves(nn.Conv2d(3, 6, 1), pooled, labels, 0.1, seed=3)[0]
    assert half.tested == first
    torch.testing.assert_close(half.network.classifier.weight[..., 0, 0], weights, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(half.network.classifier.bias, bias, atol=1e-3, rtol=1e-3)


def random_features(count: int) -> tuple[Tensor, Tensor]:
    """(N, 2, 6) features, of which the first is always 0, and (N, 3) labels that follow from them, by and large."""
    generator = torch.Generator().manual_seed(0)
    pooled = torch.randn(count, 2, 6, generator=generator) * torch.tensor([0.0, 1, 3, 0.1, 1, 20]) + 2
    noisy = pooled[:, 0, 1:4] / torch.tensor([1.0, 3, 0.1]) + torch.randn(count, 3, generator=generator)
    return pooled, (noisy > noisy.mean(dim=0)).float()


def test_the_head_is_the_logistic_regression_that_scipy_finds() -> None:
    pooled, labels = random_features(60)
    inputs, l2 = pooled[:, 0], 0.05
    weights, bias = fit_logistic_regression(inputs, labels, l2)
    x = inputs.double().numpy()
    spreads = np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    x = (x - x.mean(axis=0)) / spreads
    for index in range(3):
        signs = 2 * labels[:, index].numpy() - 1

        def objective(v: Any, signs: Any = signs) -> float:
            return float(np.logaddexp(0, -signs * (x @ v[:-1] + v[-1])).mean() + l2 / 2 * (v[:-1] ** 2).sum())

        best = minimize(objective, np.zeros(7), tol=1e-12).x
        np.testing.assert_allclose(weights[index].numpy() * spreads, best[:-1], atol=1e-4)
        logits = inputs @ weights[index] + bias[index]
        np.testing.assert_allclose(logits.numpy(), x @ best[:-1] + best[-1], atol=1e-3)


def test_the_network_gives_the_heads_logits(voc_root: Path) -> None:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU())
    samples, preprocessing = list_voc(voc_root, "test").samples, Preprocessing(32, None)
    pooled = pooled_features(features, samples, preprocessing, "cpu", "features")
    assert pooled.shape == (5, 2, 6)
    weights, bias = torch.randn(20, 6), torch.randn(20)
    network = PooledClassifier(features, weights, bias)
    for number, sample in enumerate(samples):
        image = preprocessing(Image.open(sample.image))[None]  # type: ignore[arg-type]
        torch.testing.assert_close(network(image)[0], weights @ pooled[number, 0] + bias)
        torch.testing.assert_close(network(image.flip(-1))[0], weights @ pooled[number, 1] + bias)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_absent_classes_do_not_count_for_precision() -> None:
    labels = torch.tensor([[1.0, 0, 0], [0, 0, 1], [1, 0, 0]])
    scores = torch.tensor([[3.0, 9, -1], [1, 9, 40], [0, 9, 50]])
    # Class 0: ranks 1 and 3 of the positives, (1 + 2/3) / 2; class 2: rank 2, 1/2.
    assert mean_average_precision(scores, labels) == pytest.approx((5 / 6 + 1 / 2) / 2)


# Maps


class Peaks(Method):
    """A map of the network's input with one pixel of its own a class; class 0 has none."""

    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        maps = inputs.new_zeros(1, 0, 1, *inputs.shape[2:])
        for index in target.indices[0].tolist():  # type: ignore[index]
            one = torch.full((1, 1, 1, *inputs.shape[2:]), 0.1)
            if index:
                one[..., 8, index] = 1
            maps = torch.cat([maps, one], dim=1)
        return maps


def sample_of(folder: Path, objects: Sequence[tuple[int, tuple[float, float, float, float]]]) -> Sample:
    """An image 400 wide and 100 high."""
    path = folder / "image.png"
    Image.new("RGB", (400, 100)).save(path)
    labels = [label for label, _ in objects]
    boxes = [box for _, box in objects]
    return Sample("image", path, sorted(set(labels)), boxes, labels, [0] * len(boxes))


@pytest.mark.parametrize("blur", [0.0, 0.05])
def test_the_game_is_played_at_the_images_own_size(tmp_path: Path, blur: float) -> None:
    # Of a 16 × 16 input, the pixel in row 8 and column k lies around (25 k + 12.5, 53) in the image.
    objects = [
        (0, (0.0, 0.0, 400.0, 100.0)),  # a constant map hits nothing
        (4, (130.0, 52.0, 140.0, 54.0)),  # 15 pixels and more to the left: a miss
        (5, (150.0, 40.0, 156.0, 60.0)),
        (6, (150.0, 0.0, 151.0, 1.0)),  # a miss
        (6, (160.0, 50.0, 170.0, 60.0)),
        (15, (0.0, 0.0, 16.0, 16.0)),  # a miss, which it would not be at the size of the input
    ]
    game = Game(Entry(Peaks, blurred=True), blur)
    game.play(Peaks(nn.Identity()), sample_of(tmp_path, objects), Preprocessing(16, None), "cpu")
    figures = game.figures()
    for counted in (figures, figures["without_blur"]):
        assert (counted["pairs"], counted["hits"], counted["misses"], counted["degenerate"]) == (5, 2, 2, 1)
        assert counted["all"] == pytest.approx(2 / 5)
        # The classes of small boxes, among several: all but class 0.
        assert counted["difficult"] == pytest.approx(2 / 4)


def test_blur_finds_the_middle_of_many_small_peaks() -> None:
    maps = torch.zeros(1, 40, 40)
    maps[0, 5, 5] = 1.2
    maps[0, 28:33, 18:23] = 1
    maxima = [int(as_explanation(maps, (40, 40), torch.tensor([1]), blur).heatmaps.argmax()) for blur in (0, 0.05)]
    assert maxima == [5 * 40 + 5, 30 * 40 + 20]


@given(st.floats(-1e3, 1e3, width=32), st.sampled_from([0.0, 0.02]))
def test_a_constant_map_gets_no_maximum_by_rounding(value: float, blur: float) -> None:
    maps = torch.full((1, 13, 13), value)
    assert as_explanation(maps, (37, 50), torch.tensor([1]), blur).heatmaps.isnan().all()


def test_gradients_are_read_by_their_largest_absolute_value() -> None:
    maps = torch.tensor([1.0, -3, 2])[None, :, None, None]
    assert strongest(maps).tolist() == [[[3.0]]]
    assert summed(maps).tolist() == [[[0.0]]]


def test_predicted_weights_are_rows_of_the_network_that_they_were_fitted_to(run: Any, tmp_path: Path) -> None:
    backbone = FrozenBackbone("squeezenet1_1")
    InversionExplainer(backbone, InversionOptions(variant="fine", predictor=4, image_size=64)).save(tmp_path / "fitted")
    options = ["--networks", "squeezenet1_1", "--methods", "Center", "--count", "2", "--predictors"]
    found = run(*options, f"squeezenet1_1={tmp_path / 'fitted'}")["squeezenet1_1"]["methods"]
    predicted = {f"InversionMask+amortised, {steps} steps": steps for steps in (0, 5)}
    assert list(found) == ["Center", *predicted]
    for name, steps in predicted.items():
        assert "refused" not in found[name], found[name]
        assert found[name]["options"] == {"variant": "fine", "inversion_steps": 0, "class_steps": steps}
        assert found[name]["pairs"] == found["Center"]["pairs"]
    assert list(run(*options, f"mobilenet_v2={tmp_path / 'fitted'}")["squeezenet1_1"]["methods"]) == ["Center"]


def test_an_explainer_without_a_predictor_starts_nothing(run: Any, tmp_path: Path) -> None:
    InversionExplainer(FrozenBackbone("squeezenet1_1"), InversionOptions(image_size=64)).save(tmp_path / "bare")
    with pytest.raises(
        ValueError, match=r"bare holds no inversion explainer with a predictor; fit one with predictor: 64"
    ):
        run("--networks", "squeezenet1_1", "--methods", "Center", "--predictors", f"squeezenet1_1={tmp_path / 'bare'}")
