"""HTML page of all contact sheets, on which people find names for x-features."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from vitrine.visualization.report.document import document


@dataclass(frozen=True)
class SheetEntry:
    """One x-feature on the page."""

    class_name: str
    number: int
    """Number of the x-feature within its class, from 1."""
    name: str | None
    """Name given by a person; None without one."""
    picture: str | None
    """URL of its sheet, relative to the page; None where it contributes to no image."""
    size: tuple[int, int] = (0, 0)
    """Width and height of the sheet, in pixels."""

    @property
    def label(self) -> str:
        """Label with the number."""
        return f"x-feature {self.number}"


def contact_page(title: str, entries: Sequence[SheetEntry], names_file: str) -> str:
    """The page; entries of one class must be consecutive.

    Args:
        title: heading of the page.
        entries: the x-features.
        names_file: path of the file for the names.
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
