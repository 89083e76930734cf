"""What the site is made of beside its pages: options and error sentences from the source, and the navigation."""

import re
from pathlib import Path

import pytest
import yaml

from docs.hooks.error_sentences import sentences, sentences_of
from docs.hooks.option_tables import documented, exported, option_classes, options_of, parameters

ROOT = Path(__file__).parents[1]

TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


class _Loader(yaml.SafeLoader):
    """Reads MkDocs' configuration without calling what it names."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def test_values_become_placeholders(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        'raise ValueError(f"{self.path} holds {len(rows)} rows; " + "give more.")\n'
        'raise OptionError("layer", layer, f"one of {known}")\n'
        "raise ValueError(message)\n"
    )
    assert [one.text for one in sentences_of(module, "module.py")] == [
        "‹path› holds ‹rows› rows; give more.",
        "layer is ‹layer›; give one of ‹known›.",
    ]


def test_the_most_common_sentences_are_those_of_the_source() -> None:
    said = {one.text for one in sentences(ROOT)}
    table = re.findall(r"^\| (.+?) \| .+ \|$", TROUBLESHOOTING, flags=re.MULTILINE)[1:]
    assert len(table) >= 20
    assert [text for text in table if text not in said] == []


@pytest.mark.slow
def test_every_option_has_a_row() -> None:
    parts = re.findall(r"<!-- options of (\w+) -->", (ROOT / "docs" / "options.md").read_text(encoding="utf-8"))
    page = "\n".join(map(options_of, parts))
    kinds = [*exported("lightning_modules"), *exported("datamodules"), *exported("callbacks"), *option_classes()]
    for kind in kinds:
        part = page.partition(f"### {kind.__name__}\n")[2].partition("\n### ")[0]
        assert part, kind
        assert all(f"| `{name}` |" in part for name in parameters(kind)), kind
    undocumented = {
        f"{kind.__name__}.{name}" for kind in kinds for name in parameters(kind) if name not in documented(kind)
    }
    assert undocumented == set()


def test_the_navigation_has_every_page() -> None:
    config = yaml.load((ROOT / ".mkdocs.yml").read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe loader
    listed = re.findall(r"[\w/]+\.md", str(config["nav"]))
    made = {"index.md", "contributing.md", "changelog.md"}
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    assert sorted(listed) == sorted(pages | notebooks | made)
