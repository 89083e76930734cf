"""Pages of the site from notebooks: their text as it is, their code as blocks."""

import json
from pathlib import Path


def notebook_page(path: Path) -> str:
    """Markdown of a notebook's cells, without outputs."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = [_part(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    note = f"*This page is the notebook `docs/notebooks/{path.name}`, which is run by the tests.*"
    return "\n\n".join([parts[0], note, *parts[1:]]) + "\n"


def _part(kind: str, source: str) -> str:
    return f"```python\n{source}\n```" if kind == "code" else source
