"""What an explanation of pictures draws and writes: one overlay, a panel, a folder; and what it says without pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vitrine.core.explained_pictures import ExplainedPictures
from vitrine.core.explanation import Explanation
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.data.preprocessing import Preprocessing
from vitrine.visualization.explanation_pictures import drawn_heatmaps, show_picture
from vitrine.visualization.source_overlay import overlay_on_source

GEOMETRY = Preprocessing(size=16, resize=16)


def explained(sizes: list[tuple[int, int]], count: int, texts: HeatmapTexts | None = None) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(len(sizes), count, 16, 16, generator=generator)
    scores = torch.tensor([[2.0, -1.0, 0.5][:count]] * len(sizes))
    labels = [[f"map {index}" for index in range(count)]] * len(sizes)
    classes = torch.tensor([1] * len(sizes))
    images = [Image.new("RGB", size, "teal") for size in sizes]
    names = [f"{row}.jpg" for row in range(len(sizes))]
    pictures = ExplainedPictures(images, names, GEOMETRY, ("ant", "bee"), texts or HeatmapTexts())
    return Explanation(maps, scores, labels, classes, classes, torch.rand(len(sizes), 2), pictures=pictures)


def test_one_map_of_one_picture_is_saved_as_its_overlay(tmp_path: Path) -> None:
    explanation = explained([(50, 30)], 1)
    explanation.save(tmp_path / "out.png")
    expected = overlay_on_source(
        Image.new("RGB", (50, 30), "teal"), explanation.heatmaps[0, 0], GEOMETRY, sigma=0.02 * 16
    )
    with Image.open(tmp_path / "out.png") as saved:
        assert saved.tobytes() == expected.tobytes()


def test_several_are_saved_as_a_panel(tmp_path: Path) -> None:
    explanation = explained([(50, 30), (20, 60)], 3)
    explanation.save(str(tmp_path / "out.jpg"))
    with Image.open(tmp_path / "out.jpg") as saved:
        assert saved.format == "JPEG"
        assert saved.size == explanation.panel().size
    assert explanation.panel(100).width == 4 * 110 + 10


def test_maps_share_a_colour_scale_where_their_scores_compare_them() -> None:
    common, own = (
        list(drawn_heatmaps(explained([(16, 16)], 3, texts), 0))
        for texts in (HeatmapTexts(), HeatmapTexts(comparable=False, percent=True))
    )
    assert common[0].image.tobytes() == own[0].image.tobytes()
    assert np.abs(np.array(common[2].image) - 0.0).sum() != np.abs(np.array(own[2].image) - 0.0).sum()
    assert [one.score for one in common] == ["+2.00", "-1.00", "+0.50"]
    assert own[2].score == "50.0 %"


def test_a_folder_has_an_overlay_for_each_map_and_the_tensors(tmp_path: Path) -> None:
    explanation = explained([(50, 30), (20, 60)], 2)
    for _ in range(2):  # the second replaces the first
        explanation.save(tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == ["000_0_1_map-0.png", "000_0_2_map-1.png", "001_1_1_map-0.png", "001_1_2_map-1.png"]
    assert torch.equal(load_file(tmp_path / "out" / "heatmaps.safetensors")["heatmaps"], explanation.heatmaps)


def test_tensors_are_drawn_with_the_images_that_are_given() -> None:
    bare = Explanation(
        torch.rand(1, 1, 16, 16),
        torch.ones(1, 1),
        [["m"]],
        torch.zeros(1).long(),
        torch.zeros(1).long(),
        torch.rand(1, 2),
    )
    with pytest.raises(ValueError, match="with_pictures"):
        bare.panel()
    with pytest.raises(ValueError, match="with_pictures"):
        bare.save("never.png")
    drawn = bare.with_pictures(torch.rand(1, 3, 16, 16), classes=["ant", "bee"])
    assert next(drawn_heatmaps(drawn, 0)).image.size == (16, 16)
    for wrong, message in (
        (torch.rand(1, 3, 8, 8), r"\(1, 3, 8, 8\)"),
        (torch.full((1, 3, 16, 16), -2.0), r"in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            bare.with_pictures(wrong)


def test_other_suffixes_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out\.pdf is neither a picture"):
        explained([(50, 30)], 1).save(tmp_path / "out.pdf")
    assert not list(tmp_path.iterdir())


def test_a_picture_is_shown_in_the_viewer_outside_of_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Image.Image] = []
    monkeypatch.setattr(Image.Image, "show", lambda self: shown.append(self))  # noqa: PLW0108 - bound to the picture
    explained([(50, 30)], 1).show()
    assert len(shown) == 1


def test_a_notebook_displays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display")
    shell = type("Shell", (), {"kernel": True})()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    shown: list[Image.Image] = []
    monkeypatch.setattr(display, "display", shown.append)
    show_picture(Image.new("RGB", (4, 4)))
    assert len(shown) == 1
