"""HTML table of example images: a column an image, a row a method, with every picture in the page itself."""

from collections.abc import Mapping
from html import escape

from vitrine.visualization.comparison.examples import SIDE, Example, Place
from vitrine.visualization.layers import heat_layer
from vitrine.visualization.overlays import NO_EVIDENCE, data_url, picture, resized


def example_table(examples: Mapping[str, Mapping[Place, Example]]) -> str:
    """A table of the examples, or nothing where there are none.

    A photograph is in the page once for all methods whose network saw it in the same pixels. Heatmaps are transparent layers
    over it.
    """
    if not examples:
        return ""
    photos = _Photos()
    first = next(iter(examples.values()))
    heads = "".join(f'<th scope="col">{_photo(example, photos)}</th>' for example in first.values())
    rows = "\n".join(
        f'<tr><th scope="row">{escape(method)}</th>'
        + "".join(f"<td>{_cell(method, one, first[place], photos)}</td>" for place, one in of_method.items())
        + "</tr>"
        for method, of_method in examples.items()
    )
    return f"""<style>{photos.style()}</style>
<div class="wide"><table class="examples"><thead><tr><th scope="col">image, class</th>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>"""


class _Photos:
    """Photographs as backgrounds, each written once."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {}
        self.urls: list[str] = []

    def name(self, example: Example) -> str:
        """The CSS class of an example's photograph."""
        pixels = picture(example.image).tobytes() + repr(tuple(example.image.shape)).encode()
        if pixels not in self.numbers:
            self.numbers[pixels] = len(self.urls)
            self.urls.append(data_url(resized(picture(example.image), SIDE)))
        return f"photo-{self.numbers[pixels]}"

    def style(self) -> str:
        return "\n".join(f".photo-{n} {{ background-image: url({url}); }}" for n, url in enumerate(self.urls))


def _photo(example: Example, photos: _Photos) -> str:
    alt = escape(f"{example.key}, class {example.target}")
    return (
        f'<div class="frame {photos.name(example)}" style="aspect-ratio:{_aspect(example)}" role="img" aria-label="{alt}"'
        f' title="{alt}"></div>{escape(example.target)}'
    )


def _cell(method: str, example: Example, shown: Example, photos: _Photos) -> str:
    other = "" if example.target == shown.target else f"<small>{escape(example.target)}</small>"
    return (
        f'<div class="frame {photos.name(example)}" style="aspect-ratio:{_aspect(example)}" tabindex="0">'
        f"{_layer(method, example)}</div>{other}"
    )


def _layer(method: str, example: Example) -> str:
    layer = heat_layer(example.map)
    if layer is None:
        return f'<span class="note">{NO_EVIDENCE}</span>'
    alt = escape(f"Heatmap of {method} on {example.key} for {example.target}")
    return f'<img class="heat" src="{data_url(resized(layer, SIDE))}" alt="{alt}" loading="lazy">'


def _aspect(example: Example) -> str:
    height, width = example.image.shape[-2:]
    return f"{width}/{height}"
