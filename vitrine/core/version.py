"""The package's version, whose one source is ``pyproject.toml``."""

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_DISTRIBUTION = "vitrine"
_UNKNOWN = "0+unknown"


@cache
def package_version() -> str:
    """Version of the code that is running, such as ``"0.1.0"``.

    A clone reads its own ``pyproject.toml``, so that the answer is right without installation, while another release is
    installed, and after the file has changed. An installed wheel has no such file beside it and reads its metadata. A
    copy of the folder ``vitrine`` alone has neither and answers ``"0+unknown"``.
    """
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    if pyproject.is_file():
        project = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == _DISTRIBUTION:
            return str(project["version"])
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return _UNKNOWN
