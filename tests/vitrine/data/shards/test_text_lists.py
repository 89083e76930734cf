"""Text lists: any encoding with a mark, any line ends; and each list of a data set, edited."""

import codecs
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.time_limits import time_limit
from tests.vitrine.data.shards.conftest import PixelBytes
from vitrine.data.shards.converters.cub import list_cub
from vitrine.data.shards.converters.imagenet_annotation import read_wnids
from vitrine.data.shards.converters.imagenet_layout import read_ground_truth
from vitrine.data.shards.converters.scenes import read_categories
from vitrine.data.shards.converters.voc import list_voc
from vitrine.data.shards.text_lists import Line, read_index, read_lines, read_numbers, relative_name

TEXT = "a 1\r\n\r\n  b é  \n\tc\t3\x0b\x85\r"


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_every_encoding_with_a_mark(tmp_path: Path, mark: bytes, encoding: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(mark + TEXT.encode(encoding))
    assert [(line.number, line.text) for line in read_lines(path, "mend it")] == [(1, "a 1"), (3, "b é"), (4, "c\t3")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a\nb é\n".encode("latin-1"), r"line 2, is no UTF-8 \(byte 0xe9\): save"),
        ("a\r\rb ü".encode("cp1252"), r"line 3, is no UTF-8 \(byte 0xfc\)"),
        ("a\nb".encode("utf-16-le"), "line 1, holds a zero byte"),
        ("a\nb".encode("utf-16-be"), "line 1, holds a zero byte"),
        (b"a\nb\0c\n", "line 2, holds a zero byte"),
        (codecs.BOM_UTF16_LE + b"a\0b", "line 1, is no UTF-16"),
        (b"\x89PNG\r\n\x1a\n", "line 1, is no UTF-8"),
    ],
)
def test_bytes_that_are_no_text(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(ValueError, match=rf"list\.txt, {message}"):
        list(read_lines(tmp_path / "list.txt", "mend it"))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with time_limit():
        for name, message in (
            ("pipe", "pipe is no file: mend it"),
            ("gone", "does not exist: mend it"),
            ("", "is no file"),
        ):
            with pytest.raises(FileNotFoundError, match=message):
                list(read_lines(tmp_path / name, "mend it"))


LINE = Line(Path("list.txt"), 7, "text")


@pytest.mark.parametrize("name", ["/a.jpg", "../a.jpg", "b/../../a.jpg", "", ".", "..", "//a"])
def test_paths_outside_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"list\.txt, line 7, names"):
        relative_name(name, LINE)


@pytest.mark.parametrize("field", ["nan", "inf", "-inf", "1e999", "x", "", "1,5", "½", "0x1"])
def test_numbers_are_finite(field: str) -> None:
    with pytest.raises(ValueError, match=r"list\.txt, line 7, has the box, which are no numbers"):
        read_numbers(["1", field], LINE, "the box")
    assert read_numbers(["1", "-2.5e1"], LINE, "the box") == [1, -25]


@pytest.mark.parametrize("text", ["-1", "1.0", "²", "٣", "", "9" * 30, "1_0", "+1", "5"])
def test_indices_are_whole_numbers_in_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"list\.txt, line 7, has .* which is no whole number from 0 to 4"):
        read_index(text, 5, LINE)
    assert read_index("4", 5, LINE) == 4


Change = Callable[[str], str | bytes]
CUB: list[tuple[str, Change, str]] = [
    ("images.txt", lambda text: text + "9 a b c\n", "does not exist though"),
    ("images.txt", lambda text: text.replace("001.Black_footed_Albatross/A_1.jpg", "/etc/a.jpg"), "line 1, names"),
    ("images.txt", lambda text: text.replace("001.Black_footed_Albatross/A_1.jpg", "../A.jpg"), "line 1, names"),
    ("images.txt", lambda text: text.replace("A_1", "A_2"), "line 2, repeats the name"),
    ("images.txt", lambda text: "# images\n" + text, "does not exist though|has no line"),
    ("images.txt", lambda text: text.replace("4 002", "5 002"), "no line for image 5|is of the image 4"),
    ("images.txt", lambda text: text.partition("\n")[2], "line 1, is of the image 1, which .* does not list"),
    ("images.txt", lambda text: "1\n" + text, "line 1, has 1 entries"),
    ("images.txt", lambda text: text.replace("A_1", "é").encode("latin-1"), "line 1, is no UTF-8"),
    ("image_class_labels.txt", lambda text: text.replace("1 1", "1 7"), "line 1, gives image 1 the class 7"),
    ("image_class_labels.txt", lambda text: text.replace("2 1\n", ""), "no line for image 2"),
    ("image_class_labels.txt", lambda text: text + "1 2\n", "line 5, repeats the line of 1"),
    ("image_class_labels.txt", lambda text: text + "9 2\n", "line 5, is of the image 9"),
    ("train_test_split.txt", lambda text: text.replace("1 0", "1 2"), "line 1, has '2' in place of 1"),
    ("train_test_split.txt", lambda text: text.replace("1 0", "1 train"), "line 1, has 'train' in place of 1"),
    ("bounding_boxes.txt", lambda text: text.replace("1 1.0", "1 nan"), "line 1, has 'nan 2.0 3.0 4.0' for 001"),
    ("bounding_boxes.txt", lambda text: text.replace("2 0.5", "2 inf"), "line 2, has 'inf"),
    ("bounding_boxes.txt", lambda text: text.replace("2 0.5 ", "2 "), "line 2, has 4 entries in place of 5"),
    ("bounding_boxes.txt", lambda text: text.replace(".", ","), "line 2, has '0,5 1,0 6,0 3,0'"),
    ("bounding_boxes.txt", lambda _: "", "no line for image 1"),
    ("classes.txt", lambda text: text.replace("2 002.Laysan", "2 001.Black_footed"), "line 2, repeats the name"),
    ("classes.txt", lambda text: text.replace("2 ", "3 "), "the class 2, absent from classes.txt"),
    ("parts/part_locs.txt", lambda text: text.replace("1 1 0.0", "1 1 x"), "line 1, has 'x 0.0 0'"),
    ("parts/part_locs.txt", lambda text: text.replace("1 3 7.0", "1 3 1e400"), "line 2, has '1e400"),
    ("parts/parts.txt", lambda text: text + "4 eye\n", "no line for part 4 of image 1"),
]


@pytest.mark.parametrize(("name", "change", "message"), CUB)
def test_edited_lists_of_cub_are_a_sentence(cub_root: Path, name: str, change: Change, message: str) -> None:
    changed = change((cub_root / name).read_text())
    (cub_root / name).write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        [list_cub(cub_root, split) for split in ("train", "test")]


@pytest.mark.parametrize("form", ["mark", "windows", "utf-16", "blanks", "no end", "old mac"])
def test_lists_of_other_systems_are_read_alike(cub_root: Path, form: str) -> None:
    expected = list_cub(cub_root, "train")
    for path in cub_root.rglob("*.txt"):
        text = path.read_text()
        path.write_bytes(
            {
                "mark": codecs.BOM_UTF8 + text.encode(),
                "windows": text.replace("\n", "\r\n").encode(),
                "utf-16": text.encode("utf-16"),
                "blanks": text.replace("\n", "  \t\n\n \n").replace(" ", "\t", 1).encode(),
                "no end": text.rstrip().encode(),
                "old mac": text.replace("\n", "\r").encode(),
            }[form]
        )
    assert list_cub(cub_root, "train") == expected


VOC: list[tuple[str | bytes, str]] = [
    ("000005\n000005\n", r"test\.txt, line 2, repeats 000005, which line 1 lists"),
    ("000005  1\n000006 -1\n", r"test\.txt, line 1, is '000005  1' in place of the name of one image"),
    ("000005\n999999\n", r"999999\.jpg does not exist though .*test\.txt, line 2, lists 999999"),
    ("/etc/passwd\n", r"test\.txt, line 1, names '/etc/passwd'"),
    ("../000005\n", r"test\.txt, line 1, names"),
    ("# images\n000005\n", r"test\.txt, line 1, is '# images'"),
    ("000005.jpg\n", r"000005\.jpg\.jpg does not exist though .*line 1"),
    ("00000\xe9\n".encode("latin-1"), r"test\.txt, line 1, is no UTF-8"),
    (b"\0\0\0", r"test\.txt, line 1, holds a zero byte"),
]


@pytest.mark.parametrize(("text", "message"), VOC)
def test_edited_lists_of_voc_are_a_sentence(voc_root: Path, tmp_path: Path, text: str | bytes, message: str) -> None:
    root = Path(shutil.copytree(voc_root, tmp_path / "VOC"))
    path = next(root.rglob("ImageSets/Main/test.txt"))
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        list_voc(root, "test")


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_categories, "a 0\nb 2\n", "line 2: b has the index 2 in place of 1"),
        (read_categories, "a\nA b\na\n", "line 3, lists a twice"),
        (read_categories, "\n\n", "is empty"),
        (read_wnids, "n01440764 tench\nn0144 fish\n", "line 2, starts with 'n0144'"),
        (read_wnids, "n01440764\nn01440764\n", "line 2, repeats n01440764"),
        (read_wnids, "wnid,words\n", "line 1, starts with"),
        (read_wnids, "n٠١٤٤٠٧٦٤\n", "line 1, starts with"),
        (read_ground_truth, "a.JPEG n01440764\na.JPEG n01440765\n", "line 2, gives a another class than a line before"),
        (read_ground_truth, "a.JPEG ²\n", "line 1, is 'a.JPEG ²'"),
        (read_ground_truth, "a.JPEG\n", "line 1, is 'a.JPEG'"),
    ],
)
def test_edited_lists_of_classes_are_a_sentence(
    tmp_path: Path, read: Callable[[Path], object], text: str, message: str
) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"list\.txt.*{message}|{message}"):
        read(tmp_path / "list.txt")


def test_lists_of_classes_with_a_mark_and_windows_ends(tmp_path: Path, picture: PixelBytes) -> None:
    (tmp_path / "list.txt").write_bytes(codecs.BOM_UTF8 + b"/a/airfield 0\r\n/b/bar 1\r\n")
    assert read_categories(tmp_path / "list.txt") == ["airfield", "bar"]
    (tmp_path / "list.txt").write_bytes(codecs.BOM_UTF8 + b"ImageId,PredictionString\r\nval_1,n01440764 1 2 3 4\r\n")
    assert read_ground_truth(tmp_path / "list.txt") == {"val_1": "n01440764"}
