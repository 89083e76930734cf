"""MkDocs hook: pages of the site that stand elsewhere or are made from the source, and links that work here and on GitHub."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the project's own packages, and the other hooks

from docs.hooks.error_sentences import errors_page  # noqa: E402 - found by the line above
from docs.hooks.notebook_pages import notebook_page  # noqa: E402
from docs.hooks.option_tables import options_of  # noqa: E402

OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that stand above docs/, and what they are called here."""
ERRORS, OPTIONS = "<!-- every error sentence -->", re.compile(r"<!-- options of (\w+) -->")
"""Where a page takes in what is made from the source."""


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that stand above docs/, and a page of each notebook."""
    for outside, name in OUTSIDE.items():
        text = (ROOT / outside).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=re.sub(r"\]\(docs/", "](", text)))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:  # noqa: ARG001 - MkDocs passes all
    """Turns links to what stands above docs/ into links to its page, and fills in what is made from the source."""
    for outside, name in OUTSIDE.items():
        markdown = re.sub(rf"\]\((?:\.\./)?{re.escape(outside)}", f"]({name}", markdown)
    markdown = re.sub(r"\[([^\]]+)\]\((?:LICENSE|CITATION\.cff)\)", r"\1", markdown)
    markdown = re.sub(r"\]\(notebooks/(\w+)\.ipynb\)", r"](notebooks/\1.md)", markdown)
    if ERRORS in markdown:
        markdown = markdown.replace(ERRORS, errors_page(ROOT))
    return OPTIONS.sub(lambda found: options_of(found[1]), markdown)


FETCHED = re.compile(r"<(?:script|img|link|iframe|source|video)\b[^>]*\b(?:src|href)=\"?((?:https?:)?//[^\" >]+)")
"""What a browser fetches to show a page; links that a reader follows are none."""


def on_post_build(config: Any) -> None:
    """Refuses a site whose pages fetch something from elsewhere, so that they can be read without a network.

    Raises:
        PluginError: where one does.
    """
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        fetched = [
            url
            for url in FETCHED.findall(path.read_text(encoding="utf-8"))
            if not url.startswith(config.site_url or "\0")
        ]
        if fetched:
            raise PluginError(f"{path.name} fetches {fetched[0]}; put it beside the pages.")
