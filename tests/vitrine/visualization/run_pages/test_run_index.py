"""The index of a run's folder: what is there is listed, with pictures and figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pages import opened
from tests.helpers.tested_runs import write_run
from tests.vitrine.visualization.run_pages.conftest import CURVES
from vitrine.visualization.run_pages import write_run_index
from vitrine.visualization.run_pages.results import files_of


def test_the_page_links_what_is_there_and_only_that(run: Path, browser: Any) -> None:
    page = opened(browser, write_run_index(run))
    links = page.eval_on_selector_all("a", "(all) => all.map((one) => decodeURI(one.getAttribute('href')))")
    assert {"report/index.html", "x_features/index.html", "curves.html", "metrics.json"} <= set(links)
    assert all((run / link).exists() for link in links)
    assert page.evaluate("[...document.images].every((one) => one.naturalWidth)")
    assert "43.2 %" in page.inner_text("header")
    assert page.inner_text("h1") == "Results: SRAE on Flower"
    page.close()


def test_each_of_several_explainers_has_its_results(run: Path) -> None:
    for name in ("LRP", "EBP"):
        write_run(run / "explainers" / name, name, curves=CURVES)
        (run / "explainers" / name / "report").mkdir()
        (run / "explainers" / name / "report" / "index.html").write_text("<p>a page</p>")
    text = write_run_index(run).read_text(encoding="utf-8")
    assert 'href="explainers/EBP/report/index.html"' in text
    assert "<b>LRP: Report</b>" in text
    assert "EBP, LRP on Flower" in text
    assert all("<li><svg" in (run / "curves.html").read_text("utf-8") and name in text for name in ("EBP", "LRP"))


def test_a_second_index_replaces_the_first(run: Path) -> None:
    first = write_run_index(run).read_text(encoding="utf-8")
    (run / "metrics.json").write_text(json.dumps({"test/iou": None}))
    second = write_run_index(run).read_text(encoding="utf-8")
    assert "no value" in second
    assert "no value" not in first


def test_a_folder_without_results_says_so(tmp_path: Path) -> None:
    assert "There are no pages or pictures yet." in write_run_index(tmp_path).read_text(encoding="utf-8")
    assert files_of(tmp_path) == {}


def test_damaged_files_and_missing_folders_are_named(run: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none is no folder: give the folder of a run"):
        write_run_index(run / "none")
    (run / "metrics.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"metrics\.json is damaged"):
        write_run_index(run)
