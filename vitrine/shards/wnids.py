"""Classes that are named by WordNet ids ("n01440764"), as in ILSVRC and Tiny ImageNet."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

_WNID = re.compile(r"n\d{8}")


def is_wnid(text: str) -> bool:
    """Whether a text is a WordNet id."""
    return _WNID.fullmatch(text) is not None


def read_wnids(path: Path) -> dict[str, str]:
    """Reads rows of a wnid and, where there is one, what it stands for, in their order.

    ``LOC_synset_mapping.txt``, ``words.txt`` and ``wnids.txt`` are such files.

    Raises:
        FileNotFoundError: The file is absent.
        ValueError: A row opens with no wnid, a wnid is doubled, or there is none at all.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a file with a wnid such as n01440764 in each row.")
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        wnid, _, words = line.strip().replace("\t", " ").partition(" ")
        if not wnid:
            continue
        if not is_wnid(wnid):
            raise ValueError(f"{path}, line {number}, opens with {wnid!r}, which is no wnid such as n01440764.")
        if wnid in found:
            raise ValueError(f"{path}, line {number}, repeats {wnid}: remove one of the rows.")
        found[wnid] = words.strip()
    if not found:
        raise ValueError(f"{path} is empty: give a file with a wnid such as n01440764 in each row.")
    return found


def name_classes(wnids: Iterable[str], words: Mapping[str, str]) -> list[str]:
    """A name for each class: the first of its words, with the wnid where others share it ("crane"), or the wnid alone."""
    firsts = {wnid: words.get(wnid, "").partition(",")[0].strip() for wnid in wnids}
    shared = Counter(firsts.values())
    return [f"{name} ({wnid})" if name and shared[name] > 1 else name or wnid for wnid, name in firsts.items()]
