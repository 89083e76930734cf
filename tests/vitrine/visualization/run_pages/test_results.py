"""What a run's folder holds: pages, pictures and files."""

from pathlib import Path

from vitrine.visualization.run_pages.results import KINDS, files_of, results_of


def test_results_have_pages_and_pictures(run: Path) -> None:
    found = {result.title: (result.page, result.picture) for result in results_of(run)}
    panel = "panels/epoch-0000-step-000010.png"
    assert found == {
        "Report": ("report/index.html", "report/images/0001.webp"),
        "Contact sheets": ("x_features/index.html", "x_features/lo & on/x-feature-1.png"),
        "Panel of the training": (panel, panel),
    }
    assert len({kind.title for kind in KINDS}) == len(KINDS)


def test_explainers_of_a_comparison_have_results_of_their_own(tmp_path: Path) -> None:
    page = tmp_path / "explainers" / "Grad-CAM" / "report" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>a page</p>")
    (result,) = results_of(tmp_path)
    assert (result.title, result.page) == ("Grad-CAM: Report", "explainers/Grad-CAM/report/index.html")
    assert result.picture is None


def test_files_that_are_there_are_told(tmp_path: Path) -> None:
    assert files_of(tmp_path) == {}
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "explainer").mkdir()
    assert list(files_of(tmp_path)) == ["metrics.json", "explainer"]
