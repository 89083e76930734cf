"""The page of all contact sheets, class by class, on which a person finds names for x-features."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from vitrine.visualization.report.page import document


@dataclass(frozen=True)
class SheetEntry:
    """One x-feature's place on the page."""

    class_name: str
    number: int
    """Of the x-feature within its class, from 1."""
    name: str | None
    """What a person has named it; None without a name."""
    picture: str | None
    """Address of its sheet, relative to the page; None where it contributes to no image."""
    size: tuple[int, int] = (0, 0)
    """Width and height of the sheet, in pixels."""

    @property
    def label(self) -> str:
        """Its number in words."""
        return f"x-feature {self.number}"


def contact_page(title: str, entries: Sequence[SheetEntry], names_file: str) -> str:
    """The whole page; entries of one class must follow each other.

    Args:
        title: heading of the page.
        entries: the x-features.
        names_file: path of the file that names are written into.
    """
    groups = groupby(entries, key=lambda entry: entry.class_name)
    sections = "\n".join(_section(name, list(members), names_file) for name, members in groups)
    return document(
        title,
        f"""<header>
<h1>{escape(title)}</h1>
<p class="lead">Each sheet shows the images on which one x-feature contributes most to its class, those of largest
contribution v<sub>i</sub>E<sub>i</sub> first. What do the highlighted places have in common? Write it down as the
x-feature's name in <code>{escape(names_file)}</code>, and the next test and prediction will show it.</p>
</header>
<main>
{sections or "<p>There are no x-features to show.</p>"}
</main>""",
    )


def _section(class_name: str, entries: Sequence[SheetEntry], names_file: str) -> str:
    figures = "\n".join(_figure(entry, names_file) for entry in entries)
    return f"""<section>
<h2>{escape(class_name)}</h2>
<div class="sheets">
{figures}
</div>
</section>"""


def _figure(entry: SheetEntry, names_file: str) -> str:
    name = f"<b>{escape(entry.name)}</b>" if entry.name else "<span>not named yet</span>"
    return f"""<figure><figcaption><b>{entry.label}</b>{name}</figcaption>
{_picture(entry)}
<p class="where">Its name: <code>{escape(names_file)}</code>, key <code>{escape(entry.class_name)}</code>,
line {entry.number} of its list.</p></figure>"""


def _picture(entry: SheetEntry) -> str:
    if entry.picture is None:
        return "<p>Contributes to no image that was explained as this class.</p>"
    alt = escape(f"Images on which {entry.label} of {entry.class_name} contributes most")
    width, height = entry.size
    source = escape(entry.picture)
    return (
        f"""<a href="{source}"><img src="{source}" width="{width}" height="{height}" alt="{alt}" loading="lazy"></a>"""
    )
