"""An explanation in a notebook: pictures and predictions in one piece of HTML, names escaped."""

import torch
from PIL import Image

from vitrine.core.explained_pictures import ExplainedPictures
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing


def explained(count: int, class_name: str) -> Explanation:
    images = [Image.effect_noise((500, 300), 40).convert("RGB")] * count
    pictures = ExplainedPictures(images, ["a <b>.jpg"] * count, Preprocessing(16, 16), ("ant", class_name))
    classes, labels = torch.ones(count).long(), [["map", "other"]] * count
    logits = torch.tensor([[0.0, 1.0]] * count)
    maps, scores = torch.rand(count, 2, 16, 16), torch.ones(count, 2)
    return Explanation(maps, scores, labels, classes, classes, logits, pictures=pictures)


def test_html_holds_its_pictures_and_predictions() -> None:
    html = explained(9, "bee")._repr_html_()
    assert html is not None
    assert html.count('src="data:image/webp;base64,') == html.count("<img") == 8 * 3
    assert "explains bee" in html
    assert "73.1 % bee" in html
    assert "and 1 more images" in html
    assert len(html) < 500_000


def test_names_are_escaped() -> None:
    html = explained(1, "<script>")._repr_html_()
    assert html is not None
    assert "<script>" not in html
    assert "a <b>.jpg" not in html
    assert "a &lt;b&gt;.jpg" in html
