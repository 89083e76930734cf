"""HTML documents: the frame of every page, with its style and scripts inside; a page loads nothing from the network."""

import json
from collections.abc import Sequence
from html import escape

from vitrine.visualization.report.assets import asset

NO_SCRIPT = (
    '<noscript><p class="noscript">This page needs JavaScript to show its pictures; please allow it.</p></noscript>'
)


def document(title: str, body: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = ()) -> str:
    """A page with a body, in the style of all pages; it needs no other files than its pictures and data.

    Args:
        title: of the window.
        body: HTML.
        styles: names of further style sheets of this package.
        scripts: names of scripts of this package, which run in their order after the body.
    """
    style = "".join(asset(name) for name in ("page.css", *styles))
    script = "".join(f"<script>\n{asset(name)}</script>\n" for name in scripts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
{NO_SCRIPT if scripts else ""}
{body}
{script}</body>
</html>
"""


def script_json(value: object) -> str:
    """JSON that may stand in a script: nothing in it ends the script's element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
