"""Sources of splits: what ``data.init_args.shards`` may name, and how the splits there are found and read."""

from collections.abc import Mapping
from pathlib import Path

from datamodules.split import Split
from vitrine.core.options import OptionError
from vitrine.data.shards.indexing import index_once
from vitrine.data.shards.reader import LocalFiles
from vitrine.data.shards.schema import (
    INDEX_FILE,
    ShardIndex,
    check_index,
    parse_index,
    parse_index_text,
    read_index,
)
from vitrine.data.streams.cached_files import CachedFiles
from vitrine.data.streams.fetching import MissingError, fetch_bytes
from vitrine.data.streams.locations import PIPE, is_remote, join, names_tars, parent, tar_locations
from vitrine.data.streams.shard_cache import ShardCache, ShardCacheOptions

SPLITS = ("train", "val", "test")
Location = str | Path
ShardsOption = str | Path | Mapping[str, str]
"""A data-set folder, a split folder, tar files or a pattern of them, each local or at a URL; or one of these by split."""


def is_set_folder(shards: ShardsOption) -> bool:
    """Whether shards may be made there: a folder in the file system."""
    return not isinstance(shards, Mapping) and not is_remote(shards) and not names_tars(shards)


def read_splits(shards: ShardsOption, options: ShardCacheOptions) -> dict[str, Split]:
    """The splits that there are, by name.

    Args:
        shards: where they are.
        options: of the copies of shards that are not local, and of the indexes of tar files that have none.

    Raises:
        FileNotFoundError: where an index lists a shard that is not there.
        OptionError: for an unknown name of a split.
        ShardError: where something cannot be fetched or read, or nothing tells which split it is.
        ValueError: where an index is not one.
    """
    cache = ShardCache(options)
    if isinstance(shards, Mapping):
        unknown = next((name for name in shards if name not in SPLITS), None)
        if unknown is not None:
            raise OptionError("shards", unknown, "locations under train, val and test")
        return {name: _only_split(location, name, cache) for name, location in shards.items()}
    if names_tars(shards):
        split = _split_of_tars(str(shards), None, cache)
        return {_name_of(split.index, shards): split}
    found = {name: _split_in_folder(join(shards, name), cache) for name in SPLITS}
    splits = {name: split for name, split in found.items() if split is not None}
    if splits:
        return splits
    alone = _split_in_folder(str(shards), cache)
    return {} if alone is None else {_name_of(alone.index, shards): alone}


def _only_split(location: Location, name: str, cache: ShardCache) -> Split:
    split = _split_of_tars(str(location), name, cache) if names_tars(location) else _split_in_folder(location, cache)
    if split is None:
        raise OptionError(f"shards.{name}", str(location), f"a folder with {INDEX_FILE}, or tar files")
    return split


def _name_of(index: ShardIndex, location: Location) -> str:
    """Which split an index is of."""
    path = Path(str(location))
    told = [index.split, path.name, path.parent.name, path.name.partition("-")[0]]
    name = next((name for name in told if name in SPLITS), None)
    if name is None:
        raise OptionError("shards", str(location), "it under the name of its split, as in shards: {train: …}")
    return name


def _split_in_folder(folder: Location, cache: ShardCache) -> Split | None:
    """The split whose index is in a folder; None without one."""
    if not is_remote(folder):
        return Split(Path(folder), read_index(Path(folder))) if Path(folder, INDEX_FILE).is_file() else None
    index = _remote_index(str(folder), cache)
    if index is None:
        return None
    urls = [join(folder, entry.file) for entry in index.shards]
    return Split(str(folder), index, CachedFiles(urls, [entry.sha256 for entry in index.shards], cache))


def _remote_index(folder: str, cache: ShardCache) -> ShardIndex | None:
    url = join(folder, INDEX_FILE)
    try:
        text = fetch_bytes(url, cache.options.tries)
    except MissingError:
        return None
    return check_index(parse_index_text(text, url), url)


def _split_of_tars(pattern: str, name: str | None, cache: ShardCache) -> Split:
    """Tar files with the part of the index beside them, or with one that is made of their records."""
    locations = tar_locations(pattern)
    whole = _index_beside(locations, cache)
    files = [location.rpartition("/")[2] for location in locations]
    listed = {} if whole is None else {entry.file: entry.sha256 for entry in whole.shards}
    remote = CachedFiles(locations, [listed.get(file) for file in files], cache) if is_remote(pattern) else None
    if whole is not None and list(listed) == files:
        return Split(pattern, whole, remote or LocalFiles([Path(location) for location in locations]))
    paths = [cache.fetch(*of) for of in zip(remote.urls, remote.sums, strict=True)] if remote else map(Path, locations)
    if len(set(files)) < len(files) or pattern.startswith(PIPE):
        files = [f"shard-{number:06d}.tar" for number in range(len(files))]
    split = name or ("" if whole is None else whole.split)
    local = list(paths)
    return Split(pattern, index_once(local, files, split, whole, cache.folder / "indexes"), remote or LocalFiles(local))


def _index_beside(locations: list[str], cache: ShardCache) -> ShardIndex | None:
    folders = {parent(location) or "." for location in locations}
    if len(folders) > 1 or locations[0].startswith(PIPE):
        return None
    (folder,) = folders
    if is_remote(folder):
        return _remote_index(folder, cache)
    return parse_index(Path(folder)) if Path(folder, INDEX_FILE).is_file() else None
