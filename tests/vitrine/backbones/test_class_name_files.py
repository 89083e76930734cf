import json
from pathlib import Path

import pytest

from vitrine.backbones.class_name_files import read_class_names

NAMES = ["ant", "black swan", "Käfer"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.txt", "ant\nblack swan\nKäfer\n\n"),
        ("bom.txt", "\ufeffant\r\nblack swan\r\nKäfer\r\n"),
        ("a.json", json.dumps(NAMES)),
        ("b.json", json.dumps({"2": "Käfer", "0": "ant", "1": "black swan"})),
        ("c.json", json.dumps({"model_type": "vit", "label2id": {"ant": 0, "Käfer": 2, "black swan": 1}})),
        ("a.yaml", "names: [ant, black swan, Käfer]"),
        ("b.yml", "id2label:\n  0: ant\n  1: black swan\n  2: Käfer\n"),
    ],
)
def test_names_are_read_in_the_order_of_the_logits(file: str, text: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path / file) == NAMES


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("a.txt", b"", "no names"),
        ("a.txt", b"ant\n\nbee\n", "an empty name"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read"),
        ("a.json", b"{", "cannot be read"),
        ("a.json", b"3", "neither a list"),
        ("a.json", b'{"0": "ant", "2": "bee"}', "indices 0, 1, 2"),
        ("a.yaml", b"a: [", "cannot be read"),
    ],
)
def test_other_files_are_refused_by_name(file: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=told) as error:
        read_class_names(tmp_path / file)
    assert str(tmp_path / file) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt is not there"):
        read_class_names(tmp_path / "none.txt")
