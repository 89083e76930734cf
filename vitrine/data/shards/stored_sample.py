"""Stored samples: members of a sample of a shard, checked against what its split declares."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from PIL import Image

from vitrine.data.orientation import Size
from vitrine.data.shards.documents import parse_json
from vitrine.data.shards.images import is_16_bit_png, is_binary
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.schema import COUNTERFACTUALS, IMAGE_EXTENSIONS

MAP_EXTENSIONS = {"mask": "mask.png", "objects": "objects.png", "counterfactuals": COUNTERFACTUALS}
MAX_RECORD_BYTES = 16 * 2**20


def parse_record(data: bytes) -> dict[str, Any]:
    """The JSON record of a sample.

    Raises:
        ValueError: where it is none; the message is a phrase that starts with "its json".
    """
    if len(data) > MAX_RECORD_BYTES:
        raise ValueError(f"its json is larger than {MAX_RECORD_BYTES // 2**20} MiB")
    try:
        record = parse_json(data, "it")
    except ValueError as error:
        raise ValueError(f"its json cannot be read ({error})") from None
    if not isinstance(record, dict):
        raise ValueError(f"its json is a {type(record).__name__} and no record")
    return record


def missing_members(extensions: Iterable[str], rules: RecordRules) -> list[str]:
    """What a sample with members of these extensions lacks, or has twice, as phrases."""
    counts = Counter(list(extensions))
    num_images = sum(counts[extension] for extension in IMAGE_EXTENSIONS)
    problems = [] if num_images == 1 else [f"it has {num_images} images ({', '.join(IMAGE_EXTENSIONS)}) in place of 1"]
    return problems + [f"its {extension} is missing" for extension in _required(rules) if not counts[extension]]


def superfluous_members(extensions: Iterable[str], rules: RecordRules) -> list[str]:
    """What a sample has that nobody reads, as phrases."""
    others = Counter(extension for extension in extensions if extension not in IMAGE_EXTENSIONS)
    return [f"it has a superfluous member .{extension}" for extension in others - Counter(_required(rules))]


def _required(rules: RecordRules) -> list[str]:
    return ["json", *(extension for kind, extension in MAP_EXTENSIONS.items() if kind in rules.annotations)]


def size_problems(extension: str, size: Size, record: Mapping[str, Any]) -> list[str]:
    """What is wrong with width and height of a picture, mask or object map of a sample, as phrases."""
    width, height = record.get("width"), record.get("height")
    count = record.get("counterfactuals")
    if extension == COUNTERFACTUALS and isinstance(height, int) and isinstance(count, int):
        height *= count
    if (width, height) in ((None, None), size):
        return []
    return [f"its {extension} is {size[0]} x {size[1]}, its json says {width} x {height}"]


def picture_problems(extension: str, picture: Image.Image, record: Mapping[str, Any]) -> list[str]:
    """What is wrong with a decoded picture, mask or object map of a sample, as phrases."""
    problems = size_problems(extension, picture.size, record)
    if extension == MAP_EXTENSIONS["mask"] and not (picture.mode == "L" and is_binary(picture)):
        problems.append("its mask is no 8-bit grey PNG of 0 and 255 (or 0 and 1)")
    if extension == MAP_EXTENSIONS["objects"] and not is_16_bit_png(picture):
        problems.append("its object map is no 16-bit grey PNG")
    return problems
