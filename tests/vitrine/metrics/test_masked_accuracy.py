"""Masked accuracy where it is known beforehand, against the plain functions, through copies and over ranks."""

import copy
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.ranks import RankPool
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.masked_accuracy import MaskedAccuracy
from vitrine.metrics.masked_images import kept_pixels, masked_inputs, response_maps

SIZE = 12
PREPROCESSING = Preprocessing(SIZE, None)
PATCH = (slice(2, 5), slice(6, 9))
GAMMAS = (0.005, 0.05, 0.5)


def patch_colour(images: Tensor) -> Tensor:
    """(B, 3) logits: red, green and blue of the one patch that the network looks at; black is taken for red."""
    return PREPROCESSING.denormalize(images)[:, :, *PATCH].mean(dim=(2, 3)) + torch.tensor([0.01, 0, 0])


def coloured(labels: Tensor) -> Batch:
    """Images with a patch of their class's colour on a ground of the next one's."""
    images = torch.zeros(len(labels), 3, SIZE, SIZE)
    for row, label in enumerate(labels.tolist()):
        images[row, (label + 1) % 3] = 1
        images[row, :, *PATCH] = 0
        images[row, label, *PATCH] = 1
    return Batch(image=PREPROCESSING.finished({"image": images})["image"], label=labels)


def explanation_of(heatmaps: Tensor, labels: Any = None) -> Explanation:
    count, classes = len(heatmaps), torch.zeros(len(heatmaps), dtype=torch.int64)
    labels = labels or [[f"x-feature {k}" for k in range(heatmaps.shape[1])]] * count
    return Explanation(heatmaps, torch.ones(heatmaps.shape[:2]), labels, classes, classes, torch.zeros(count, 3))


def values(metric: MaskedAccuracy) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.parametrize("fill", ["inpaint", "black"])
def test_what_a_network_looks_at_is_enough_for_it_and_what_it_does_not_is_not(fill: Any) -> None:
    batch = coloured(torch.tensor([0, 1, 2, 1]))
    patch, ground = torch.zeros(4, 1, SIZE, SIZE), torch.ones(4, 1, SIZE, SIZE)
    patch[:, 0, *PATCH] = 1
    ground[:, 0, *PATCH] = 0
    without = 0.25 if fill == "black" else 0.0  # one of the four is red
    for heatmaps, accuracy, area in ((patch, 1.0, 9 / 144), (ground, without, 135 / 144)):
        metric = MaskedAccuracy(patch_colour, PREPROCESSING, [0.05, 1], fill)
        metric.update(explanation_of(heatmaps), batch)
        found = values(metric)
        assert found == pytest.approx({
            "masked_accuracy/original": 1.0,
            "masked_accuracy/5": accuracy,
            "masked_accuracy/kept_area_5": area,
            "masked_accuracy/100": accuracy,
            "masked_accuracy/kept_area_100": area,
            "masked_accuracy/blank": 0.0,
        })  # fmt: skip


@pytest.mark.parametrize(("blur", "kept"), [(0.0, 1), (1 / SIZE, 21)])
def test_heatmaps_are_not_blurred_unless_that_is_wanted(blur: float, kept: int) -> None:
    """Of one bright pixel, one is kept; of its blur by 1 px those within √(2 ln 20) = 2.45 px of it."""
    heatmaps = torch.zeros(1, 1, SIZE, SIZE)
    heatmaps[0, 0, 6, 6] = 1
    metric = MaskedAccuracy(patch_colour, PREPROCESSING, [0.05], "black", blur=blur)
    metric.update(explanation_of(heatmaps), coloured(torch.tensor([1])))
    assert values(metric)["masked_accuracy/kept_area_5"] == pytest.approx(kept / SIZE**2)


def network() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(600, 3)).eval()


def rows() -> tuple[Explanation, Batch]:
    """Eleven images of two heatmaps; two of them say nothing, and one has padding in place of its second one."""
    generator = torch.Generator().manual_seed(2)
    heatmaps = torch.randn(11, 2, SIZE, SIZE, generator=generator).exp() - 0.5
    heatmaps[3], heatmaps[7] = 0, math.nan
    labels = [["a", ""] if row == 5 else ["a", "b"] for row in range(11)]
    images = torch.rand(11, 3, 4, 4, generator=generator)
    images = nn.functional.interpolate(images, (SIZE, SIZE), mode="bilinear")
    inputs = PREPROCESSING.finished({"image": images})["image"]
    answers = network()(inputs).argmax(dim=1)
    answers[1:4] = (answers[1:4] + 1) % 3
    return explanation_of(heatmaps, labels), Batch(image=inputs, label=answers)


def metric_of(fill: Any = "inpaint") -> MaskedAccuracy:
    backbone = FrozenBackbone(network())
    return MaskedAccuracy(lambda images: backbone(images).logits, PREPROCESSING, GAMMAS, fill)


def take(metric: MaskedAccuracy, start: int, stop: int) -> MaskedAccuracy:
    explanation, batch = rows()
    metric.update(explanation[start:stop], Batch(image=batch["image"][start:stop], label=batch["label"][start:stop]))
    return metric


def expected_values(fill: Any = "inpaint") -> dict[str, float]:
    """One image after the other."""
    explanation, batch = rows()
    right: dict[str, list[float]] = {"masked_accuracy/original": []}
    for row in range(11):
        image, label = batch["image"][row : row + 1], int(batch["label"][row])
        right["masked_accuracy/original"].append(float(int(network()(image).argmax()) == label))
        for gamma, name in zip(GAMMAS, ("0.5", "5", "50"), strict=True):
            kept = kept_pixels(response_maps(explanation[row : row + 1]), gamma)
            logits = network()(masked_inputs(image, kept, PREPROCESSING, fill))
            right.setdefault(f"masked_accuracy/{name}", []).append(float(int(logits.argmax()) == label))
            right.setdefault(f"masked_accuracy/kept_area_{name}", []).append(float(kept.double().mean()))
    return {name: sum(each) / 11 for name, each in right.items()} | {"masked_accuracy/blank": 2.0}


@pytest.mark.parametrize("fill", ["inpaint", "black"])
def test_it_is_the_loop_over_the_plain_functions(fill: Any) -> None:
    expected = expected_values(fill)
    assert values(take(metric_of(fill), 0, 11)) == pytest.approx(expected)
    assert expected["masked_accuracy/original"] == pytest.approx(8 / 11)
    if fill == "black":  # else a mix-up would pass; inpainted, this network's decisions are the same at all γ
        assert len({expected[f"masked_accuracy/{name}"] for name in ("0.5", "5", "50")}) > 1


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_two_updates_and_two_ranks_equal_one(cut: int) -> None:
    whole = values(take(metric_of(), 0, 11))
    assert values(take(take(metric_of(), 0, cut), cut, 11)) == pytest.approx(whole)
    ranks = [take(metric_of(), 0, cut), take(metric_of(), cut, 11)]
    ranks[0].merge_state(ranks[1])
    assert values(ranks[0]) == pytest.approx(whole)


def test_a_map_above_0_keeps_everything_at_gamma_0() -> None:
    _, batch = rows()
    metric = MaskedAccuracy(network(), PREPROCESSING, [0, 0.5, 1])
    heatmaps = torch.rand(11, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    metric.update(explanation_of(heatmaps), batch)
    found = values(metric)
    assert found["masked_accuracy/0"] == found["masked_accuracy/original"] == pytest.approx(8 / 11)
    assert found["masked_accuracy/kept_area_0"] == 1
    assert found["masked_accuracy/kept_area_100"] == pytest.approx(1 / 144)
    assert (
        found["masked_accuracy/kept_area_0"]
        > found["masked_accuracy/kept_area_50"]
        > found["masked_accuracy/kept_area_100"]
    )


def test_an_image_without_a_kept_pixel_is_black_and_counted() -> None:
    seen: list[Tensor] = []

    def classify(images: Tensor) -> Tensor:
        seen.append(images)
        return patch_colour(images)

    metric = MaskedAccuracy(classify, PREPROCESSING, [0.1])
    metric.update(explanation_of(-torch.rand(2, 3, SIZE, SIZE)), coloured(torch.tensor([0, 2])))
    found = values(metric)
    assert found == {
        "masked_accuracy/original": 1.0,
        "masked_accuracy/10": 0.5,  # one of them is red
        "masked_accuracy/kept_area_10": 0.0,
        "masked_accuracy/blank": 2.0,
    }
    assert not PREPROCESSING.denormalize(seen[1]).gt(1e-6).any()


def test_of_several_labels_any_is_right() -> None:
    batch = coloured(torch.tensor([0, 1, 2]))
    batch["label"] = torch.tensor([[1.0, 0, 1], [1, 0, 1], [0, 0, 0]])
    metric = MaskedAccuracy(patch_colour, PREPROCESSING, [0.5], "black")
    metric.update(explanation_of(torch.ones(3, 1, SIZE, SIZE)), batch)
    assert values(metric)["masked_accuracy/original"] == values(metric)["masked_accuracy/50"] == pytest.approx(1 / 3)


# The network belongs to somebody else


def test_the_network_is_no_part_of_the_metric() -> None:
    model = network()
    metric = take(MaskedAccuracy(model, PREPROCESSING, GAMMAS), 0, 11)
    assert not list(metric.parameters())
    assert not list(metric.children())
    assert not metric.state_dict()
    metric.double()
    assert next(model.parameters()).dtype == torch.float32


def test_a_network_in_training_stays_as_it_is() -> None:
    model = network().train()
    model[0].register_full_backward_hook(lambda *_: None)
    state = copy.deepcopy(model.state_dict())
    found = values(take(MaskedAccuracy(model, PREPROCESSING, GAMMAS), 0, 11))
    assert found == pytest.approx(expected_values())  # as in eval mode
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_clones_share_the_network() -> None:
    model = network()
    metric = take(MaskedAccuracy(model, PREPROCESSING, GAMMAS), 0, 4)
    clone = metric.clone()
    assert isinstance(clone, MaskedAccuracy)
    assert clone.classify is metric.classify
    assert values(take(clone, 4, 11)) == pytest.approx(expected_values())
    assert float(metric.measured) == 4


def test_pickles_leave_the_network_behind() -> None:
    metric = take(metric_of(), 0, 11)  # its network is a lambda, which could not be pickled
    again = pickle.loads(pickle.dumps(metric))
    assert values(again) == values(metric)
    fresh = take(metric_of(), 0, 4)
    fresh.merge_state(pickle.loads(pickle.dumps(take(metric_of(), 4, 11))))
    assert values(fresh) == pytest.approx(values(metric))
    with pytest.raises(ValueError, match="pickled MaskedAccuracy has no network any more"):
        take(again, 0, 4)


def test_reset_begins_anew() -> None:
    metric = take(metric_of(), 0, 11)
    metric.reset()
    assert values(take(metric, 0, 11)) == pytest.approx(expected_values())


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_measured_is_not_a_number() -> None:
    found = values(metric_of())
    assert found.pop("masked_accuracy/blank") == 0
    assert all(map(math.isnan, found.values()))


@pytest.mark.parametrize("gammas", [(), (0.1, 0.1), (-0.1,), (1.1,), (math.nan,)])
def test_wrong_thresholds(gammas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"gammas(\[0\])? is .*; give .*from 0 to 1"):
        MaskedAccuracy(patch_colour, PREPROCESSING, gammas)


def test_a_wrong_fill_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="fill is 'white'; give 'inpaint' or 'black'"):
        MaskedAccuracy(patch_colour, PREPROCESSING, fill="white")  # type: ignore[arg-type]


def values_after_each_cut(rank: int) -> list[dict[str, float]]:
    """Figures of two metrics: of the first, both ranks have taken rows; of the second, rank 0 has taken all."""
    found = []
    for cut in (4, 11):
        start, stop = (cut, 11) if rank else (0, cut)
        found.append(values(take(metric_of(), start, stop) if start < stop else metric_of()))
    return found


def test_two_processes_equal_one_also_where_one_has_no_batch(ranks: RankPool) -> None:
    assert ranks.run(values_after_each_cut) == [[pytest.approx(expected_values())] * 2] * 2


def test_the_explanations_own_logits_are_as_good_as_another_pass() -> None:
    explanation, batch = rows()
    passes: list[int] = []

    def classify(images: Tensor) -> Tensor:
        passes.append(len(images))
        logits: Tensor = network()(images)
        return logits

    figures = []
    for own in (False, True):
        metric = MaskedAccuracy(classify, PREPROCESSING, GAMMAS, "black", own_logits=own)
        metric.update(replace(explanation, logits=network()(batch["image"])), batch)
        figures.append(values(metric))
    assert figures[0] == figures[1]
    assert passes == [11] * (2 * len(GAMMAS) + 1)
