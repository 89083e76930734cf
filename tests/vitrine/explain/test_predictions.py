import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from vitrine.core.csv_tables import plain_cell
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.explain.pictures import Picture
from vitrine.explain.predictions import TABLE, Predicted, PredictionsFolder

SIDE = 8


@pytest.fixture
def predicted() -> Predicted:
    pixels = torch.full((3, 20, 30), 128, dtype=torch.uint8)
    picture = Picture("=a/b.png", Path("b.png"), pixels, torch.zeros(3, SIDE, SIDE))
    heatmaps = torch.zeros(1, 1, SIDE, SIDE)
    heatmaps[..., :4] = 1
    logits, one = torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([1])
    explanation = Explanation(heatmaps, torch.ones(1, 1), [["map"]], one, torch.tensor([2]), logits)
    return Predicted(picture, 1, {"Grad CAM": explanation})


def test_an_overlay_has_its_pictures_size_and_colours_what_the_network_saw(
    tmp_path: Path, predicted: Predicted
) -> None:
    folder = PredictionsFolder(tmp_path, ["ant", "bee", "cow"], Preprocessing(SIDE, SIDE))
    folder.write(predicted)
    (path,) = (path for path in tmp_path.rglob("*.png") if path.is_file())
    assert path.name == "Grad CAM.png"
    with Image.open(path) as overlay:
        assert overlay.size == (30, 20)
        assert overlay.getpixel((2, 10)) == overlay.getpixel((27, 10)) == (128, 128, 128)  # cut away
        assert overlay.getpixel((8, 10)) != (128, 128, 128)


def test_the_table_has_a_row_a_picture_with_names_and_overlays(tmp_path: Path, predicted: Predicted) -> None:
    folder = PredictionsFolder(tmp_path, ["ant", "bee", "cow"], Preprocessing(SIDE, SIDE))
    folder.write(predicted)
    folder.add_row(predicted)
    folder.add_row(Predicted(predicted.picture, None, predicted.explanations))
    folder.write_table()
    with (tmp_path / TABLE).open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["key"], first["class_name"], first["target_name"]) == ("'=a/b.png", "bee", "cow")
    assert (first["label_name"], first["correct"], second["label_name"], second["correct"]) == ("bee", "1", "", "")
    assert float(first["probability"]) == pytest.approx(float(torch.tensor([0.0, 2.0, 1.0]).softmax(0)[1]), abs=1e-5)
    assert [first[f"top_{rank}"] for rank in (1, 2, 3)] == ["bee", "cow", "ant"]
    assert (tmp_path / plain_cell(first["overlay_Grad CAM"])).is_file()
