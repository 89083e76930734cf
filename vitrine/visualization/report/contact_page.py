"""HTML page of all contact sheets, on which people find names for x-features and write them down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from vitrine.visualization.report.assets import asset
from vitrine.visualization.report.document import document, script_json


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


def contact_page(
    title: str, entries: Sequence[SheetEntry], names_file: str, names: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The page; entries of one class must be consecutive.

    Names that are typed into it are kept by the browser, and saved as a ``names.yaml`` that holds those of all classes.

    Args:
        title: heading of the page.
        entries: the x-features.
        names_file: path of the file for the names.
        names: by class, the names of all its x-features, also of those that are not shown; those of the entries without it.
    """
    known = {name: list(given) for name, given in names.items()} if names is not None else _names_of(entries)
    groups = groupby(entries, key=lambda entry: entry.class_name)
    sections = "\n".join(_section(name, list(members)) for name, members in groups)
    state = {"file": names_file, "names": list(known.items())}
    body = f"""<header>
<h1>{escape(title)}</h1>
<p class="lead">Each sheet shows the images on which one x-feature contributes most to its class, those of largest
contribution v<sub>i</sub>E<sub>i</sub> first; each heatmap is drawn over its own maximum. What do the highlighted places have
in common? Write it below the sheet, save the names, and the next test and prediction will show them.</p>
</header>
{asset("names_form.html").replace("{{file}}", escape(names_file)) if entries else ""}
<main>
{sections or "<p>There are no x-features to show.</p>"}
</main>
<script type="application/json" id="names">{script_json(state)}</script>"""
    return document(title, body, styles=("names.css",), scripts=("names_yaml.js", "names.js") if entries else ())


def _names_of(entries: Sequence[SheetEntry]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for entry in entries:
        of_class = names.setdefault(entry.class_name, [])
        of_class += [""] * (entry.number - len(of_class))
        of_class[entry.number - 1] = entry.name or ""
    return names


def _section(class_name: str, entries: Sequence[SheetEntry]) -> str:
    figures = "\n".join(_figure(entry) for entry in entries)
    return f"""<section>
<h2>{escape(class_name)}</h2>
<div class="sheets">
{figures}
</div>
</section>"""


def _figure(entry: SheetEntry) -> str:
    place = f'data-class="{escape(entry.class_name)}" data-number="{entry.number}"'
    return f"""<figure><figcaption><b>{entry.label}</b></figcaption>
{_picture(entry)}
<label class="name">Name <input type="text" {place} value="{escape(entry.name or "")}" placeholder="not named yet"
autocomplete="off" spellcheck="true" maxlength="200" aria-label="Name of {entry.label} of {escape(entry.class_name)}"></label>
</figure>"""


def _picture(entry: SheetEntry) -> str:
    if entry.picture is None:
        return "<p>Contributes to no image that was explained as this class.</p>"
    alt = escape(f"Images on which {entry.label} of {entry.class_name} contributes most")
    width, height = entry.size
    source = escape(entry.picture)
    return (
        f"""<a href="{source}"><img src="{source}" width="{width}" height="{height}" alt="{alt}" loading="lazy"></a>"""
    )
