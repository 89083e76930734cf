import csv
import json
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open

from callbacks.predictions import PredictionWriter
from tests.helpers import explaining_fakes as fakes
from tests.helpers.pages import cards_of
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.file_names import safe_path, slug
from vitrine.visualization.overlays import overlay
from vitrine.visualization.scale import shares


def predict(folder: Path, **options: float) -> None:
    run = fakes.trainer(folder, PredictionWriter(), **options)
    run.predict(fakes.module(), datamodule=fakes.FakeData(), return_predictions=False)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_table_holds_each_image_once_in_key_order(tmp_path: Path) -> None:
    predict(tmp_path)
    rows = table(tmp_path)
    assert [row["key"] for row in rows] == [f"a/{n}" for n in range(5)] + [f"b/{n}" for n in (0, 1, 2, 4)]
    heatmaps = [f"{name}_{k}" for k in (1, 2, 3) for name in ("label", "score")]
    assert list(rows[0]) == ["key", "prediction", "class_name", "probability", "target", *heatmaps]


def test_table_says_what_the_explanation_says(tmp_path: Path) -> None:
    predict(tmp_path)
    data, explainer = fakes.FakeData(), fakes.module().explainer.eval()
    rows = {row["key"]: row for row in table(tmp_path)}
    for n in range(fakes.IMAGES):
        sample = data.sample(n)
        explanation, row = explainer.explain(sample["image"][None]), rows[sample["key"]]
        prediction = int(explanation.prediction[0])
        assert (row["prediction"], row["class_name"]) == (str(prediction), fakes.CLASSES[prediction])
        assert float(row["probability"]) == pytest.approx(float(explanation.logits[0].softmax(0)[prediction]))
        scores = torch.tensor([float(row[f"score_{k}"]) for k in (1, 2, 3)])
        assert torch.allclose(scores, explanation.scores[0], rtol=1e-5, atol=1e-7)
        assert row["label_3"] == "x-feature 3"


def test_images_of_the_same_stem_have_their_own_maps(tmp_path: Path) -> None:
    predict(tmp_path)
    data, explainer = fakes.FakeData(), fakes.module().explainer.eval()
    for n in (0, 1):  # a/0 and b/0
        sample = data.sample(n)
        folder = tmp_path / "predictions" / sample["key"]
        expected = explainer.explain(sample["image"][None])
        with safe_open(folder / "heatmaps.safetensors", "pt") as file:
            assert torch.allclose(file.get_tensor("heatmaps"), expected.heatmaps[0], atol=1e-6)
            assert torch.allclose(file.get_tensor("scores"), expected.scores[0], atol=1e-6)
            assert json.loads(file.metadata()["sample"]) == {"key": sample["key"], "labels": expected.labels[0]}
        assert sorted(path.name for path in folder.glob("*.png")) == [f"0{k}_x-feature-{k}.png" for k in (1, 2, 3)]
        with Image.open(folder / "02_x-feature-2.png") as drawn:
            plain = data.preprocessing.denormalize(sample["image"])
            share = shares(expected.scores[0].tolist())[1]
            assert np.array_equal(np.asarray(drawn), np.asarray(overlay(plain, expected.heatmaps[0, 1], share=share)))


def test_a_second_run_replaces_the_first_whole(tmp_path: Path) -> None:
    predict(tmp_path)
    predict(tmp_path, limit_predict_batches=1)
    assert [row["key"] for row in table(tmp_path)] == ["a/0", "b/0"]
    assert {path.parent.name for path in tmp_path.rglob("*.png")} == {"0"}
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]


def test_an_interrupted_run_leaves_the_earlier_one(tmp_path: Path) -> None:
    class Failing(fakes.FakeModule):
        def predict_step(self, batch: Batch) -> Explanation:
            if len(self.explainer.seen) == 2:
                raise RuntimeError("power cut")
            return super().predict_step(batch)

    predict(tmp_path)
    before = (tmp_path / "predictions" / "predictions.csv").read_bytes()
    run = fakes.trainer(tmp_path, PredictionWriter())
    with pytest.raises(RuntimeError, match="power cut"):
        run.predict(Failing(), datamodule=fakes.FakeData(), return_predictions=False)
    assert (tmp_path / "predictions" / "predictions.csv").read_bytes() == before
    predict(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]


def test_a_folder_of_others_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="predictions exists and is not an empty folder"):
        predict(tmp_path)
    assert (tmp_path / "predictions" / "thesis.txt").read_text() == "mine"


def test_opacity_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"^opacity is 2; give "):
        PredictionWriter(opacity=2)


def test_safe_path_keeps_plain_keys() -> None:
    assert safe_path("001.Black_footed_Albatross/Img_1 (2)") == Path("001.Black_footed_Albatross/Img_1 (2)")


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", "", "a\\b:c*?", "x" * 300, "a\nb"]
)
def test_safe_path_stays_below(key: str, tmp_path: Path) -> None:
    path = tmp_path / safe_path(key)
    path.mkdir(parents=True)
    assert path.resolve().is_relative_to(tmp_path)
    assert path.resolve() != tmp_path


@given(st.lists(st.text(alphabet="a./\\ ~_:é", max_size=6), min_size=2, max_size=2, unique=True))
def test_different_keys_have_different_paths(keys: list[str]) -> None:
    assert safe_path(keys[0]) != safe_path(keys[1])


def test_slug() -> None:
    assert slug("x-feature 3") == "x-feature-3"
    assert slug("features.28/filter 413") == "features.28-filter-413"
    assert slug("///") == "heatmap"


def test_two_processes_write_the_predictions_of_one(two_runs: tuple[Path, Path]) -> None:
    one, two = (folder / "predictions" for folder in two_runs)
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in (one, two)]
    assert files[0] == files[1]
    assert len(files[0]) == 5 * fakes.IMAGES + 4  # the table, the page, its data and the manifest
    differing = [path for path in files[0] if (one / path).read_bytes() != (two / path).read_bytes()]
    assert not differing


def test_an_image_that_cannot_be_written_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written in another thread, whose error must not be lost, nor the folder stay."""

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    predict(tmp_path)
    before = (tmp_path / "predictions" / "predictions.csv").read_bytes()
    monkeypatch.setattr("callbacks.predictions.write_image", full)
    with pytest.raises(OSError, match="No space left"):
        predict(tmp_path)
    assert (tmp_path / "predictions" / "predictions.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]


def test_a_page_shows_all_and_links_the_table(tmp_path: Path) -> None:
    predict(tmp_path)
    folder = tmp_path / "predictions"
    cards, rows = cards_of(folder), table(tmp_path)
    assert [card["key"] for card in cards] == [row["key"] for row in rows]
    assert [card["prediction"] for card in cards] == [row["class_name"] for row in rows]
    for card in cards:
        urls = [card["photo"], *card["links"].values(), *(tile["picture"] for tile in card["groups"][0]["tiles"])]
        assert len(urls) == 5
        assert all((folder / unquote(url)).is_file() for url in urls)
    assert '<a href="predictions.csv">' in (folder / "index.html").read_text(encoding="utf-8")
