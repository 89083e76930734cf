"""Labels of pictures by the folders that they stand in, where these name classes of the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitrine.data.class_matching import NetworkClasses, match_classes
from vitrine.explain.options import Labels


@dataclass(frozen=True)
class FolderLabels:
    """Which class each folder is.

    Args:
        classes: index of the logit by folder; those of other folders are not known.
        told: what was found, in words.
    """

    classes: Mapping[str, int]
    told: str

    def of(self, folder: str) -> int | None:
        """The class of a folder; None where it is not known."""
        return self.classes.get(folder)


def folder_labels(
    folders: Sequence[str], network: NetworkClasses, labels: Labels, class_map: Sequence[str] = ()
) -> FolderLabels:
    """Matches folders with the network's classes.

    Args:
        folders: their names.
        network: its classes.
        labels: ``auto`` takes a folder as a label where it names a class; ``folders`` wants that of all; ``none`` of none.
        class_map: ``FOLDER=CLASS``, with a class's name or index.

    Raises:
        ValueError: for a map that names what is not there; with ``folders``, for a folder that names no class.

    Example:
        >>> network = NetworkClasses(2, [("ant",), ("bee",)])
        >>> folder_labels(["Bee", "holiday"], network, "auto").classes
        {'Bee': 1}
    """
    if labels == "none":
        return FolderLabels({}, "none, as asked for")
    if not folders:
        if labels == "folders" or class_map:
            raise ValueError("The pictures stand in no folders, which labels could be taken from; leave --labels out.")
        return FolderLabels({}, "none: the pictures stand in no folders")
    found = _mapped(folders, network, class_map)
    for folder in folders:
        index = found[folder] if folder in found else _by_name(folder, network, needed=labels == "folders")
        if index is not None:
            found[folder] = index
    if not found:
        return FolderLabels(
            {}, "none: no folder's name is one of the network's classes (--class-map FOLDER=CLASS says)"
        )
    others = [folder for folder in folders if folder not in found]
    rest = f"; not known of {len(others)}, such as {others[0]}" if others else ""
    return FolderLabels(found, f"of {len(found)} of {len(folders)} folders{rest}")


def _by_name(folder: str, network: NetworkClasses, *, needed: bool) -> int | None:
    try:
        return match_classes([folder], network, "by_name").indices[0]
    except ValueError:
        if needed:
            raise
        return None


def _mapped(folders: Sequence[str], network: NetworkClasses, class_map: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in class_map:
        folder, equals, wanted = entry.partition("=")
        if not equals or folder not in folders:
            raise ValueError(f"--class-map {entry!r} names no folder of {', '.join(folders[:8])}; give FOLDER=CLASS.")
        found[folder] = match_classes([folder], network, {folder: wanted}).indices[0]
    return found
