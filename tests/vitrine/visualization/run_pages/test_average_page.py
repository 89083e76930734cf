"""The page of average images: a section a class, with layer, filter and weight."""

from vitrine.visualization.run_pages.average_page import average_page


def row(class_index: int, name: str, weight: float) -> dict[str, object]:
    images = [{"key": "a<b", "response": 2.5, "location": [1, 2]}]
    place = {"layer_number": 5, "layer": "features.4", "filter": 17}
    return {"class_index": class_index, "class": name, "weight": weight, "images": images, **place}


def test_a_section_a_class_and_a_row_a_filter() -> None:
    rows = [row(0, "loon", 0.5), row(0, "loon", -0.25), row(3, "<tern>", 1)]
    text = average_page(rows, {0: "000_loon.png", 3: "003 tern.png"})
    assert text.count("<section>") == 2
    assert "<td>5 features.4</td><td>17</td><td>−0.25</td>" in text
    assert '<img src="003%20tern.png" alt="Average images of the filters of &lt;tern&gt;"' in text
    assert "<li>a&lt;b 2.5</li>" in text
