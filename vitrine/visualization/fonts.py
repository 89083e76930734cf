"""Fonts of pictures: Pillow's own, and where text has other letters, one of the system that has them."""

import shutil
import subprocess
import unicodedata
import warnings
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts", "/System/Library/Fonts",
    "/Library/Fonts", "C:/Windows/Fonts",
)  # fmt: skip
"""Where fonts are looked for without fontconfig."""
WIDE_FONTS = (
    "noto",
    "dejavu",
    "unifont",
    "unicode",
    "droid",
    "wqy",
    "msyh",
    "yugoth",
    "malgun",
    "pingfang",
    "hiragino",
)
"""What the names of fonts with many letters begin with; they are tried before others."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def font(size: int, text: str = "") -> Font:
    """A font that has all letters of a text, or else Pillow's own, for text that `drawable` has made readable.

    Args:
        size: in pixels.
        text: whose letters are needed.
    """
    path = _file_with(letters(text))
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)


def letters(text: str) -> str:
    """The letters of a text that Pillow's own font lacks, each once and in order."""
    return "".join(sorted({letter for letter in text if not letter.isascii() and not _has(None, letter)}))


@lru_cache(maxsize=4096)
def drawable(text: str) -> str:
    """The text as it can be drawn here: as it is where some font has its letters, else in the Latin alphabet.

    Accents are dropped then, and of a letter that has no Latin one its code point is written, such as ``[U+9CE5]``; a
    warning names what is missing, once.
    """
    text = unicodedata.normalize("NFC", text)
    missing = letters(text)
    if not missing or _file_with(missing) is not None:
        return text
    _warn_once()
    return "".join(letter if letter not in missing else _latin(letter) for letter in text)


def _latin(letter: str) -> str:
    plain = "".join(part for part in unicodedata.normalize("NFKD", letter) if part.isascii())
    return plain or f"[U+{ord(letter):04X}]"


@cache
def _warn_once() -> None:
    warnings.warn(
        "No font of this system has all letters of the class names: pictures show them without accents or as code points;"
        " install a font that has them, such as the package fonts-noto-cjk or fonts-noto-core.",
        stacklevel=2,
    )


@lru_cache(maxsize=1024)
def _file_with(wanted: str) -> Path | None:
    """The first font file that has all of some letters; None where no letter is wanted, or no font has them."""
    if not wanted:
        return None
    return next(
        (path for path in _asked(wanted) or _font_files() if all(_has(path, letter) for letter in wanted)), None
    )


def _asked(wanted: str) -> list[Path]:
    """The files that fontconfig proposes; none without it."""
    program = shutil.which("fc-list")
    if program is None:
        return []
    codes = " ".join(f"{ord(letter):x}" for letter in wanted)
    done = subprocess.run(  # noqa: S603 - a program of the system, with hexadecimal digits
        [program, "--format", "%{file}\n", f":charset={codes}:scalable=true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return _in_order([Path(line) for line in done.stdout.splitlines() if line])


@cache
def _font_files() -> list[Path]:
    folders = [Path(folder).expanduser() for folder in FOLDERS]
    return _in_order([path for folder in folders if folder.is_dir() for path in folder.rglob("*.[to]t[fc]")])


def _in_order(paths: list[Path]) -> list[Path]:
    """Upright and regular faces of wide fonts first."""

    def place(path: Path) -> tuple[bool, bool, bool, str]:
        name = path.name.lower()
        slanted = any(word in name for word in ("bold", "italic", "oblique", "light", "black", "thin", "mono", "serif"))
        return slanted, not name.startswith(WIDE_FONTS), "regular" not in name, str(path)

    return sorted(paths, key=place)


@lru_cache(maxsize=8192)
def _has(path: Path | None, letter: str) -> bool:
    """Whether a font, Pillow's own for None, draws a letter otherwise than one that no font has."""
    try:
        one = ImageFont.load_default(16) if path is None else ImageFont.truetype(path, 16)
    except OSError:
        return False
    if not isinstance(one, ImageFont.FreeTypeFont):  # Pillow without FreeType has Latin-1 alone
        return ord(letter) < 256
    shown, missing = (one.getmask(character) for character in (letter, "\U0010fffe"))
    return shown.size != missing.size or bytes(shown) != bytes(missing)
