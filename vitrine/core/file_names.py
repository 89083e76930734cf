"""File names from keys of samples, names of classes and labels of heatmaps."""

import hashlib
import re
from pathlib import Path


def slug(label: str) -> str:
    """The label as a part of a file's name; different labels may have the same one."""
    return re.sub(r"[^\w.]+", "-", label).strip("-.")[:60] or "heatmap"


def safe_path(key: str) -> Path:
    """A relative path for a key that stays below its folder; different keys have different paths.

    Parts that would not do as a file's name are cleaned, and told apart by a digest of what they were.
    """
    return Path(*(safe_name(part) for part in key.split("/")))


def safe_name(part: str) -> str:
    """A file's name for any text; different texts have different names."""
    clean = re.sub(r"[^\w.+=,@() -]", "_", part).strip(". ")[:80]
    if part and clean == part:
        return part
    return f"{clean}~{hashlib.sha256(part.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"
