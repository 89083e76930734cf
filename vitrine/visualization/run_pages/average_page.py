"""HTML page of average images: what the filters that each class rests on respond to."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any
from urllib.parse import quote

from vitrine.visualization.report.document import document
from vitrine.visualization.report.metric_tiles import number

LEAD = """A row of a picture is one filter of the network: the mean of the image patches to which it responds most, its
upsampled activation, deconvnet with guided backprop, and the paper's heatmap, each map over its own maximum. A filter of
positive weight speaks for the class, one of negative weight against it."""


def average_page(entries: Sequence[Mapping[str, Any]], pictures: Mapping[int, str]) -> str:
    """The page.

    Args:
        entries: as ``average_images.json`` has them, those of one class consecutive.
        pictures: by index of the class, its picture's URL relative to the page.
    """
    groups = groupby(entries, key=lambda entry: (entry["class_index"], entry["class"]))
    sections = "".join(_section(name, list(rows), pictures[index]) for (index, name), rows in groups)
    body = f"""<header><h1>Average images of the relevant filters</h1><p class="lead">{LEAD}</p></header>
<main>{sections}</main>"""
    return document("Average images of the relevant filters", body)


def _section(name: str, rows: Sequence[Mapping[str, Any]], picture: str) -> str:
    source, alt = escape(quote(picture)), escape(f"Average images of the filters of {name}")
    return f"""<section><h2>{escape(name)}</h2><div class="sheets"><figure>
<a href="{source}"><img src="{source}" alt="{alt}" loading="lazy"></a></figure>
<figure><table><thead><tr><th scope="col">Layer</th><th scope="col">Filter</th><th scope="col">Weight</th>
<th scope="col">Averaged images</th></tr></thead><tbody>{"".join(map(_row, rows))}</tbody></table></figure></div></section>
"""


def _row(entry: Mapping[str, Any]) -> str:
    images = entry["images"]
    keys = "".join(f"<li>{escape(image['key'])} {number(image['response'])}</li>" for image in images)
    listed = f"<details><summary>{len(images)}</summary><ol>{keys}</ol></details>" if images else "0"
    return (
        f"<tr><td>{entry['layer_number']} {escape(entry['layer'])}</td><td>{entry['filter']}</td>"
        f"<td>{number(entry['weight'])}</td><td>{listed}</td></tr>"
    )
