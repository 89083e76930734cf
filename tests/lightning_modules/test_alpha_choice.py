"""α chosen on validation images: its file, and which α a test takes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.alpha_choice import NAME, AlphaChoice, alpha_for_test, forget_choice, write_choice
from tests.helpers.box_maps import on_box, rows
from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import LocalizationError

SMALL, LARGE = (3, 2, 9, 5), (2, 1, 28, 19)


def taken(counts: slice) -> AlphaChoice:
    """Of five images with a box and one without: SMALL is found from α = 1 on, LARGE below it."""
    maps = torch.stack([(on_box(SMALL) * 20 + on_box(LARGE)) / 21] * 6)
    boxes = [rows(SMALL), rows(SMALL), rows(LARGE), rows(SMALL), rows(LARGE), rows()][counts]
    classes = torch.zeros(len(boxes), dtype=torch.int64)
    choice = AlphaChoice("BirdData", "label", {"": LocalizationError(), "unused": LocalizationError()})
    explanation = Explanation(
        maps[counts][:, None],
        torch.ones(len(boxes), 1),
        [["map"]] * len(boxes),
        classes,
        classes,
        torch.zeros(len(boxes), 2),
    )
    choice.update("", explanation, Batch(boxes=boxes))
    return choice


def figures_on_rank(rank: int) -> dict[str, Any]:
    return taken(slice(2, 6) if rank else slice(2)).figures()


def test_the_alpha_of_the_lowest_error_over_all_ranks(ranks: RankPool, tmp_path: Path) -> None:
    figures = taken(slice(6)).figures()
    assert list(figures) == [""]  # of the other nothing was measured
    told = figures[""]
    curve = told.pop("error_curve")
    assert curve["alpha"] == [step / 2 for step in range(21)]
    best = min(curve["error"])
    assert (told["localization_alpha"], told["localization_error"]) == (
        curve["alpha"][curve["error"].index(best)],
        best,
    )
    assert best == pytest.approx(2 / 5)  # those in LARGE
    assert told["localization_alpha"] > 0
    assert (told["data"], told["explain"], told["images"], told["degenerate"]) == ("BirdData", "label", 5, 0)
    assert ranks.run(figures_on_rank) == [{"": {**told, "error_curve": curve}}] * 2
    path = write_choice(tmp_path / "run", figures[""])
    assert json.loads(path.read_text())["localization_alpha"] == told["localization_alpha"]
    assert alpha_for_test(tmp_path / "run", "BirdData") == told["localization_alpha"]
    forget_choice(tmp_path / "run")
    assert alpha_for_test(tmp_path / "run", "BirdData") == 1


def test_images_without_boxes_choose_nothing() -> None:
    assert taken(slice(5, 6)).figures() == {}


@pytest.mark.filterwarnings("ignore:.*is of BirdData, not of FishData")
def test_another_data_set_and_none_leave_alpha_at_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Which is told, of several explainers once."""
    write_choice(tmp_path, taken(slice(6)).figures()[""])
    with caplog.at_level("INFO", logger="pytorch_lightning.utilities.rank_zero"):
        assert alpha_for_test(tmp_path, "FishData") == 1
        assert alpha_for_test(tmp_path / "other", "BirdData") == 1
        assert caplog.text.count("measured at α = 1") == 2
        assert alpha_for_test(tmp_path / "third", "BirdData", told=True) == 1
        assert caplog.text.count("measured at α = 1") == 2


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"data": "BirdData"}', '{"data": "BirdData", "localization_alpha": NaN}']
)
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(ValueError, match=rf"{NAME} is damaged.*remove it, and run train.py validate"):
        alpha_for_test(tmp_path, "BirdData")
