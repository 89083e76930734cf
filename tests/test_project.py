"""What stands in more than one of the project's files, held together."""

import ast
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import vitrine

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / ".github" / "pull_request_template.md"])
FOLDERS = {
    ".ci", ".github", "benchmarks", "callbacks", "configs", "datamodules", "docs", "experiments", "lightning_modules",
    "tests", "vitrine",
}  # fmt: skip
TEXT_SUFFIXES = {"", ".cff", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_license_is_the_whole_text_of_apache_2() -> None:
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]


def test_version_comes_from_pyproject() -> None:
    assert vitrine.__version__ == PROJECT["version"]


@pytest.mark.parametrize(("folder", "version"), [("clone", PROJECT["version"]), ("package_alone", "0+unknown")])
def test_version_needs_neither_torch_nor_installation(folder: str, version: str, tmp_path: Path) -> None:
    for name in ("vitrine/__init__.py", "vitrine/core/__init__.py", "vitrine/core/version.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    script = "import sys, vitrine; assert 'torch' not in sys.modules; print(vitrine.__version__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],  # -S: without site-packages
        env=os.environ | {"PYTHONPATH": str({"clone": ROOT, "package_alone": tmp_path}[folder])},
        cwd=tmp_path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == version, done.stderr


def test_citation_agrees_with_pyproject() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert [reference["authors"][0]["family-names"] for reference in citation["references"]] == ["Qi", "Oramas", "Du"]


def test_changelog_has_releases_by_kind() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert releases[0].startswith("[Unreleased]\n")
    assert re.match(rf"\[{re.escape(PROJECT['version'])}\] - \d{{4}}-\d\d-\d\d\n", releases[1])
    for release in releases:
        kinds = re.findall(r"^### (.+)$", release, flags=re.MULTILINE)
        assert kinds
        assert kinds == [kind for kind in KINDS if kind in kinds]


def test_oldest_versions_are_the_lower_bounds() -> None:
    extras = [extra for extra in PROJECT["optional-dependencies"] if extra not in {"dev", "docs"}]
    entries = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    bounds = {requirement.name: lower_bound(requirement) for requirement in map(Requirement, entries)}
    lines = (ROOT / ".github" / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    constraints = [Requirement(line) for line in lines if not line.startswith("#")]
    assert {one.name: str(one.specifier).removeprefix("==").removesuffix(".*") for one in constraints} == bounds


def lower_bound(requirement: Requirement) -> str:
    return next(part.version for part in requirement.specifier if part.operator == ">=")


def test_extras_that_are_named_exist() -> None:
    extras = set(PROJECT["optional-dependencies"])
    sources = [*PAGES, *(ROOT / "vitrine").rglob("*.py"), *(ROOT / "callbacks").rglob("*.py"), ROOT / "Makefile"]
    named = {name for path in sources for name in re.findall(r"'(?:vitrine|\.)\[([\w,]+)\]'", path.read_text("utf-8"))}
    assert named
    assert {extra for names in named for extra in names.split(",")} <= extras


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{page.name} links to {target}"


def slug(heading: str) -> str:
    """The anchor that Markdown viewers give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=page_id)
def test_names_that_pages_import_exist(page: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for module, name in (pair for block in blocks for pair in imports(block)):
        assert hasattr(importlib.import_module(module), name), f"{page.name}: from {module} import {name}"


def imports(block: str) -> Iterator[tuple[str, str]]:
    """Module and name of each ``from … import …`` of the project's own packages."""
    rooms = ("vitrine", "lightning_modules", "datamodules", "callbacks", "benchmarks", "experiments")
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in rooms:
            yield from ((node.module, alias.name) for alias in node.names)


def test_configuration_of_github_can_be_read() -> None:
    files = [*ROOT.glob(".github/**/*.yml")]
    assert len(files) == 4
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    assert set(workflow["jobs"]) == {"lint", "latest", "oldest", "without-extras"}
    matrix = workflow["jobs"]["latest"]["strategy"]["matrix"]["python"]
    assert f">={matrix[0]}" == PROJECT["requires-python"]
    for path in files:
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_pre_commit_hooks_are_local_and_the_tree_passes_those_for_text() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [entry["repo"] for entry in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system", "pygrep"}
    patterns = {hook["id"]: hook for hook in hooks if hook["language"] == "pygrep"}
    for path in text_files():
        text = path.read_bytes()
        for hook in patterns.values():
            # As pre-commit's pygrep: line by line, or the whole file with --multiline.
            lines = [text] if "--multiline" in hook.get("args", ()) else text.splitlines(keepends=True)
            pattern = re.compile(hook["entry"].encode())
            assert not any(pattern.search(line) for line in lines), f"{hook['id']}: {path.relative_to(ROOT)}"


def text_files() -> list[Path]:
    """The sources, pages and configurations that are tracked; nothing that a run or an installation leaves."""
    nested = [path for name in FOLDERS for path in (ROOT / name).rglob("*")]
    top = [path for path in ROOT.iterdir() if path.name != ".git"]
    return [path for path in [*top, *nested] if path.is_file() and path.suffix in TEXT_SUFFIXES]
