"""An explanation's one map of all its heatmaps, and what slices and joins of batches keep."""

import pickle
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vitrine.core.explanation import Aggregation, Explanation
from vitrine.core.image_ops import degenerate

HEATMAPS = torch.tensor(
    [
        [[[1.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 2.0]], [[8.0, 0.0], [0.0, 0.0]]],
        [[[-1.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[0.0, 5.0], [5.0, 0.0]]],
    ],
    dtype=torch.float64,
)
SCORES = torch.tensor([[2.0, 1.0, -4.0], [1.0, 7.0, 3.0]], dtype=torch.float64)


def explanation(aggregation: Aggregation, heatmaps: Tensor = HEATMAPS, scores: Tensor = SCORES) -> Explanation:
    count = heatmaps.shape[1]
    return Explanation(
        heatmaps=heatmaps,
        scores=scores,
        labels=[[f"{b}.{k}" for k in range(count)] for b in range(len(heatmaps))],
        prediction=torch.tensor([0, 1]),
        target=torch.tensor([0, 1]),
        logits=torch.eye(2),
        kinds=[["conv"] * count, ["linear"] * count],
        aggregation=aggregation,
    )


def test_the_sum_is_of_shares_weighted_by_positive_scores() -> None:
    expected = [[[2 * 1 / 4, 2 * 3 / 4], [1 * 2 / 4, 1 * 2 / 4]], [[-1 / 4, 3 / 4 + 3 / 2], [3 / 2, 0.0]]]
    torch.testing.assert_close(explanation("sum").aggregate()[:, 0], torch.tensor(expected, dtype=torch.float64))


def test_the_maximum_is_of_what_has_a_positive_score_each_by_its_own_maximum() -> None:
    expected = [[[1 / 3, 1.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]
    torch.testing.assert_close(explanation("maximum").aggregate()[:, 0], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("aggregation", ["sum", "maximum"])
def test_a_single_heatmap_keeps_its_shape(aggregation: Aggregation) -> None:
    heatmaps = torch.rand(2, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    found = explanation(aggregation, heatmaps, torch.tensor([[0.5], [2.0]])).aggregate()
    assert found.shape == (2, 1, 5, 4)
    torch.testing.assert_close(
        found / found.amax(dim=(2, 3), keepdim=True), heatmaps / heatmaps.amax(dim=(2, 3), keepdim=True)
    )


@pytest.mark.parametrize("aggregation", ["sum", "maximum"])
def test_heatmaps_of_another_scale_count_alike(aggregation: Aggregation) -> None:
    scales = torch.tensor([1e-6, 3.0, 1e6], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(
        explanation(aggregation, HEATMAPS * scales).aggregate(), explanation(aggregation).aggregate()
    )


@pytest.mark.parametrize("aggregation", ["sum", "maximum"])
def test_zeros_stay_zeros_and_nan_stays_nan(aggregation: Aggregation) -> None:
    heatmaps = HEATMAPS.clone()
    heatmaps[0], heatmaps[1, 2, 0, 0] = 0.0, torch.nan
    found = explanation(aggregation, heatmaps).aggregate()
    assert not found[0].any()
    assert found[1].isnan().all()
    silent = explanation(aggregation, scores=-SCORES.abs()).aggregate()
    assert not silent.any()


def test_an_unknown_aggregation_is_refused() -> None:
    with pytest.raises(ValueError, match="aggregation 'mean' is unknown; choose one of sum, maximum"):
        explanation("mean")  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("aggregation", ["sum", "maximum"])
def test_slices_and_joins_keep_kinds_and_aggregation(aggregation: Aggregation) -> None:
    whole = explanation(aggregation)
    parts = [whole[0:1], whole[1:2]]
    assert [part.kinds for part in parts] == [[["conv"] * 3], [["linear"] * 3]]
    joined = Explanation.cat(parts)
    assert joined.kinds == whole.kinds
    assert joined.labels == whole.labels
    assert joined.aggregation == aggregation
    assert torch.equal(joined.aggregate(), whole.aggregate())
    for moved in (whole.cpu(), whole.to("cpu")):
        assert (moved.kinds, moved.aggregation) == (whole.kinds, aggregation)
    plain = replace(whole, kinds=None)
    assert plain[0:1].kinds is None
    assert Explanation.cat([plain, plain]).kinds is None


def test_the_sum_is_what_is_taken_unless_asked() -> None:
    plain = Explanation(HEATMAPS, SCORES, [["a"] * 3] * 2, torch.zeros(2), torch.zeros(2), torch.eye(2))
    assert (plain.aggregation, plain.kinds) == ("sum", None)
    assert torch.equal(plain.aggregate(), explanation("sum").aggregate())


@pytest.mark.parametrize("aggregation", ["sum", "maximum"])
def test_rounding_errors_of_constant_heatmaps_do_not_add_up_to_a_map(aggregation: Aggregation) -> None:
    noise = 1 + 2e-7 * torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    heatmaps = torch.tensor([0.3, -0.7, 2.0])[:, None, None] * noise
    found = explanation(aggregation, heatmaps, torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 1e-9]])).aggregate()
    assert degenerate(found).all()


@pytest.mark.parametrize("aggregation", ["sum", "maximum"])
def test_the_one_map_is_computed_once_and_belongs_to_its_explanation_alone(aggregation: Aggregation) -> None:
    whole = explanation(aggregation)
    assert whole.aggregate() is whole.aggregate()
    for other in (whole[:1], whole.to("cpu"), replace(whole, scores=2 * SCORES)):
        again = explanation(aggregation, other.heatmaps, other.scores) if len(other) == 2 else None
        assert other.aggregate() is not whole.aggregate()
        assert again is None or torch.equal(other.aggregate(), again.aggregate())
    assert torch.equal(whole[:1].aggregate(), whole.aggregate()[:1])
    assert len(pickle.dumps(whole)) == len(pickle.dumps(explanation(aggregation)))
    assert torch.equal(pickle.loads(pickle.dumps(whole)).aggregate(), whole.aggregate())


@pytest.mark.parametrize("aggregation", ["sum", "maximum"])
def test_gradients_flow_through_the_one_map_also_after_it_was_asked_for_without(aggregation: Aggregation) -> None:
    heatmaps = HEATMAPS[:1].clone().requires_grad_()  # without a heatmap of zeros, whose share has no gradient
    whole = explanation(aggregation, heatmaps, SCORES[:1])
    with torch.no_grad():
        whole.aggregate()
    (gradient,) = torch.autograd.grad(whole.aggregate().square().sum(), heatmaps)
    assert gradient.abs().sum() > 0


def test_what_is_in_main_memory_is_not_copied_and_what_has_gradients_is_detached_once() -> None:
    plain, learning = explanation("sum"), explanation("sum", HEATMAPS.clone().requires_grad_())
    assert plain.cpu() is plain
    assert learning.cpu() is learning.cpu()
    assert not learning.cpu().heatmaps.requires_grad
    assert torch.equal(learning.cpu().heatmaps, plain.heatmaps)
