"""Class names from a text file: one a line, or a list or label map in JSON or YAML, such as Hugging Face's ``id2label``."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from vitrine.core.error_texts import first_line

_PARSED: Mapping[str, Callable[[str], Any]] = {".json": json.loads, ".yaml": yaml.safe_load, ".yml": yaml.safe_load}


def read_class_names(path: Path) -> list[str]:
    """The names of a network's logits, by index.

    Args:
        path: a text file with a name a line (empty lines at its end are left out), or ``.json``, ``.yaml`` or ``.yml`` with a
            list of names, a map of indices to names, a map of names to indices, or one of these under ``id2label``,
            ``label2id``, ``classes`` or ``names``, as in a ``config.json`` of Hugging Face.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it holds something else, or indices with a gap.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "map.json").write_text('{"id2label": {"1": "bee", "0": "ant"}}')
        ...     read_class_names(Path(folder, "map.json"))
        ['ant', 'bee']
    """
    if not path.is_file():
        raise FileNotFoundError(f"The file of class names {path} is not there; give one with a name a line.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        parse = _PARSED.get(path.suffix.lower())
        names = text.rstrip().splitlines() if parse is None else _names_in(parse(text), path)
    except (UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read as class names: {first_line(error)}.") from error
    names = [str(name).strip() for name in names]
    if not names or not all(names):
        raise ValueError(f"{path} has {'an empty name' if names else 'no names'}; give a name for each logit.")
    return names


def _names_in(content: Any, path: Path) -> list[str]:
    for key in ("id2label", "label2id", "classes", "names"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping | list):
            return _names_in(content[key], path)
    if isinstance(content, list):
        return [str(name) for name in content]
    if isinstance(content, Mapping) and content:
        indices = {str(key): value for key, value in content.items()}
        by_index = indices if all(key.isdecimal() for key in indices) else {v: k for k, v in indices.items()}
        numbered = {int(key): str(name) for key, name in by_index.items() if str(key).isdecimal()}
        if sorted(numbered) == list(range(len(content))):
            return [numbered[index] for index in range(len(numbered))]
    raise ValueError(
        f"{path} holds neither a list of class names nor a map between names and the indices 0, 1, 2 …; give one of these."
    )
