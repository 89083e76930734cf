"""What is known of the figures of tests."""

import pytest

from vitrine.core.figures import better_of, figure_of, grouped_figures, is_class_mean


@pytest.mark.parametrize(
    ("name", "better", "class_mean"),
    [
        ("iou", "higher", False),
        ("localization/error", "lower", False),
        ("masked_accuracy/5", "higher", False),
        ("masked_accuracy/kept_area_5", "", False),
        ("energy_in_mask/area", "", False),
        ("pointing_game", "higher", True),
        ("pointing_game/difficult", "", True),
        ("slope", "", False),
    ],
)
def test_direction_and_mean(name: str, better: str, class_mean: bool) -> None:
    assert better_of(name) == better
    assert is_class_mean(name) == class_mean


def test_a_pattern_gives_the_unit_of_its_names() -> None:
    figure = figure_of("iou")
    assert figure is not None
    assert figure.unit == "%"
    assert figure_of("sanity/LRP/similarity") is not None
    assert figure_of("iou/skipped") is None


def test_groups_have_the_order_of_the_table_and_leave_further_figures_out() -> None:
    names = ["slope", "iou/skipped", "pointing_game", "pointing_game/hits", "iou", "f_cls", "slope/undefined"]
    assert grouped_figures([*names, "iou"]) == {
        "Rebuilt logits": ["f_cls"],
        "Heatmaps and objects": ["iou", "pointing_game"],
        "Others": ["slope"],
        "Counts": ["iou/skipped", "slope/undefined"],
    }
