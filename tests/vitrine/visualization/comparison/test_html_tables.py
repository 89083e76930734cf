"""HTML tables of a comparison."""

import re
from pathlib import Path

from tests.helpers.tested_runs import write_run
from vitrine.visualization.comparison.comparison import Comparison, ComparisonOptions, read_comparison
from vitrine.visualization.comparison.html_tables import difference_tables, figures_table, settings_table


def test_cells_hold_all_digits_for_sorting(comparison: Comparison) -> None:
    text = figures_table(comparison)
    rows = re.findall(r'<tr><th scope="row" data-value="([^"]*)">.*?</th>(.*?)</tr>', text)
    assert [name for name, _ in rows] == ["near", "far", "&lt;b&gt; | worst"]
    values = re.findall(r'data-value="([^"]*)"', rows[0][1])
    assert [float(value) for value in values] == [
        comparison.value("near", figure) for group in comparison.groups().values() for figure in group
    ]
    assert text.count("<td") == 1 + 3 * len(values)  # a row each, and the corner


def test_heads_say_what_is_sorted_and_what_a_click_does(run_folders: list[Path]) -> None:
    text = figures_table(read_comparison(run_folders, ComparisonOptions(sort="test/localization/error", resamples=2)))
    assert re.search(r'<th scope="col" aria-sort="ascending"><button[^>]*>localization/error ↓', text)
    assert text.count("aria-sort") == 1
    assert re.search(r'data-first="descending"[^>]*>iou ↑', text)


def test_a_missing_value_is_a_dash(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, name, figures={name: 1.0}) for name in ("f_cls", "f_reg")]
    text = figures_table(read_comparison(folders))
    assert text.count('data-value="">–') == 2


def test_differences_have_both_signs_and_their_images(comparison: Comparison) -> None:
    text = difference_tables(comparison)
    one = comparison.uncertainty.difference("iou", "near", "far")
    assert one is not None
    shown = f"{one.value:.4g}"
    assert f'<td class="apart" title="40 images">+{shown}<small>' in text
    assert f'<td class="apart" title="40 images">−{shown}<small>' in text
    assert text.count('class="chance"') == 6  # far and worst in three figures, in both directions
    assert text.count("<details>") == 3
    assert "<b>" not in text


def test_runs_without_per_image_values_have_no_differences(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, name, figures={"iou": 1.0}) for name in ("a", "b")]
    assert difference_tables(read_comparison(folders)) == ""


def test_settings_are_listed_by_method(comparison: Comparison) -> None:
    text = settings_table(comparison)
    assert '>layer</th><td class="text">layer0</td><td class="text">layer1</td><td class="text">layer2</td>' in text
    assert text.count(">label<") == 3
