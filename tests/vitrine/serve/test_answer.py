"""What the page answers: a card for each heatmap, the prediction, and the sentences of methods that refuse."""

import re
from pathlib import Path

import pytest

from vitrine.serve.answer import answer
from vitrine.serve.served import ServedNetwork


def test_cards_of_all_methods_and_the_prediction(served: ServedNetwork, photo: Path) -> None:
    name = served.first[0]
    found = answer(served, photo, [name, "Saliency", "LRP"], target=2)
    assert re.findall(r"<b>(.*?)</b>", found.heatmaps) == ["the picture", name, "Saliency", "LRP"]
    assert found.heatmaps.count("data:image/webp") == 4
    assert found.heatmaps.count("colour bar") == 2  # of one sign, and of LRP's both
    assert found.predictions.count("<tr") in {5, 6}  # the explained class too where it is none of the first
    assert served.classes[2] in found.predictions
    assert "60 pixels" in found.heatmaps


def test_a_method_that_does_not_work_says_so_beside_the_others(served: ServedNetwork, photo: Path) -> None:
    found = answer(served, photo, ["AttentionRollout", "GradCAM"], None)
    assert 'class="v-refused"' in found.heatmaps
    assert "AttentionRollout does not work on this network" in found.heatmaps
    assert "<b>GradCAM</b>" in found.heatmaps


def test_nothing_to_show_is_a_sentence(served: ServedNetwork, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose at least one"):
        answer(served, photo, [], None)
    with pytest.raises(ValueError, match="does not work on this network"):
        answer(served, photo, ["AttentionRollout"], None)
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"^broken\.png") as caught:
        answer(served, broken, ["GradCAM"], None)
    assert str(tmp_path) not in str(caught.value)
