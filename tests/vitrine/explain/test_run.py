import csv
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import vitrine
from tests.helpers.flower_pictures import write_pictures
from vitrine.explain.options import ExplainOptions
from vitrine.explain.run import explain

ALL = ("GradCAM", "EBP", "SRAE", "MuLasso", "inversion")


@pytest.fixture(scope="module")
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture(scope="module")
def out(flower_options: ExplainOptions, told: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "out"
    options = replace(flower_options, out=folder, explainers=ALL, min_pictures=3, class_map=["others=violet"])
    found = explain(options, lambda heading, text: told.append((heading, text)))
    assert found.report == folder / "report" / "index.html"
    assert len(found.left_out) == 1
    return folder


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions" / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_picture_has_a_row_and_an_overlay_of_each_method_at_its_own_size(out: Path) -> None:
    table = rows(out)
    assert [row["key"] for row in table] == sorted(row["key"] for row in table)
    assert len(table) == 6
    for row in table:
        for name in ("GradCAM", "EBP", "InversionMask"):
            with Image.open(out / "predictions" / row[f"overlay_{name}"]) as overlay:
                assert overlay.size == (100, 84)


def test_labels_come_from_folders(out: Path, told: list[tuple[str, str]]) -> None:
    assert {row["key"].partition("/")[0]: row["label_name"] for row in rows(out)} == {"Red": "red", "others": "violet"}
    assert dict(told)["labels"] == "of 2 of 2 folders"
    accuracy = sum(int(row["correct"]) for row in rows(out)) / 6
    assert "accuracy" in (out / "report" / "index.html").read_text()
    assert accuracy == sum(row["prediction"] == row["label"] for row in rows(out)) / 6


def test_fitted_explainers_explain_their_classes_alone_and_can_be_loaded(out: Path) -> None:
    for row in rows(out):
        assert bool(row["overlay_SRAE"]) == (row["target_name"] in {"red", "violet"})
    saved = vitrine.load(out / "explainers" / "SRAE")
    assert list(saved.explained_classes) == [0, 4]
    assert saved.preprocessing is not None
    assert saved.preprocessing.size == 48


def test_the_report_names_methods_classes_and_pictures(out: Path) -> None:
    text = "".join(path.read_text() for path in (out / "report").iterdir() if path.suffix in {".html", ".js"})
    for wanted in ("GradCAM", "EBP", "SRAE", "Red/deep/0.png", "violet"):
        assert wanted in text


def test_without_labels_nothing_is_wrong(flower_options: ExplainOptions, tmp_path: Path) -> None:
    found = explain(replace(flower_options, out=tmp_path, explainers=["GradCAM"], labels="none"))
    assert "accuracy" not in found.metrics
    assert all(row["label"] == row["correct"] == "" for row in rows(tmp_path))


@pytest.mark.parametrize(("target", "wanted"), [("pink", {"pink"}), ("2", {"yellow"}), ("label", {"red", "violet"})])
def test_another_class_can_be_explained(
    target: str, wanted: set[str], flower_options: ExplainOptions, tmp_path: Path
) -> None:
    options = replace(flower_options, out=tmp_path, explainers=["GradCAM"], target=target, class_map=["others=violet"])
    explain(options)
    assert {row["target_name"] for row in rows(tmp_path)} == wanted


def test_pictures_of_classes_without_a_head_are_told(flower_options: ExplainOptions, tmp_path: Path) -> None:
    options = replace(flower_options, out=tmp_path, explainers=["SRAE"], min_pictures=3, class_map=["others=violet"])
    with pytest.raises(ValueError, match="No explainer has a head for the class of any picture; add a method"):
        explain(replace(options, target="pink"))
    assert not (tmp_path / "report").exists()
    found = explain(replace(options, target="label"))
    assert len(found.left_out) == 1


def test_results_are_no_pictures_of_the_next_run(flower_options: ExplainOptions, tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    options = replace(flower_options, images=tmp_path, out=tmp_path / "explained", explainers=["GradCAM", "GradCAM++"])
    for _ in range(2):
        explain(options)
        assert [row["key"] for row in rows(tmp_path / "explained")] == ["0.png", "1.png"]
    names = {path.name for path in (tmp_path / "explained" / "predictions" / "0.png").iterdir()}
    assert names == {"GradCAM.png", "GradCAM++.png"}


def test_what_somebody_else_wrote_is_not_replaced(flower_options: ExplainOptions, tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="predictions exists and is not an empty folder"):
        explain(replace(flower_options, out=tmp_path, explainers=["GradCAM"]))
    assert not (tmp_path / "report").exists()
