"""JSON and XML documents: whatever is broken is a sentence."""

import os
from pathlib import Path

import pytest

from tests.helpers.time_limits import time_limit
from vitrine.data.shards import documents
from vitrine.data.shards.converters.imagenet_annotation import read_annotation
from vitrine.data.shards.documents import parse_json, read_xml

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
GOOD = f"<annotation><size><width>8</width><height>6</height></size><object><name>é</name>{BOX}</object></annotation>"
LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha">' + "".join(
    f'<!ENTITY {chr(c + 1)} "{f"&{chr(c)};" * 10}">' for c in range(ord("b"), ord("l"))
)
XML = {
    "empty": b"",
    "zeros": b"\0" * 100,
    "text": b"hello",
    "torn": GOOD.encode()[:-20],
    "two roots": GOOD.encode() * 2,
    "billion laughs": f"{LAUGHS}]><annotation>&l;</annotation>".encode(),
    "quadratic": f'<!DOCTYPE a [<!ENTITY b "{"h" * 100_000}">]><annotation>{"&b;" * 1000}</annotation>'.encode(),
    "file entity": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotation>&b;</annotation>',
    "dtd elsewhere": b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><annotation/>',
    "unknown entity": b"<annotation>&nbsp;</annotation>",
    "unknown encoding": b'<?xml version="1.0" encoding="klingon"?><annotation/>',
    "multi-byte encoding": b'<?xml version="1.0" encoding="shift_jis"?><annotation/>',
    "wrong encoding": GOOD.encode("latin-1"),
    "wrong utf-16": b'<?xml version="1.0" encoding="utf-16"?><annotation/>',
    "control character": b"<annotation>\x01</annotation>",
    "unclosed": b"<a>" * 100_000,
}


@pytest.mark.parametrize("name", XML)
def test_broken_xml_is_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(XML[name])
    with time_limit(), pytest.raises(ValueError, match=r"a\.xml is broken XML \(.*\): unpack") as told:
        read_annotation(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "data",
    [
        GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode("utf-16"),
        b'<?xml version="1.0" encoding="latin-1"?>' + GOOD.encode("latin-1"),
        GOOD.replace("><", ">\r\n<").encode(),
    ],
)
def test_xml_in_any_declared_encoding(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.xml").write_bytes(data)
    found = read_annotation(tmp_path / "a.xml")
    assert (found.size, found.objects[0].name, found.objects[0].box) == ((8, 6), "é", (1, 2, 4, 5))


def test_deep_xml_is_read_or_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"<a>" * 100_000 + b"</a>" * 100_000)
    with time_limit():
        assert read_xml(tmp_path / "a.xml", "mend it").tag == "a"


@pytest.mark.parametrize("value", ["nan", "inf", "", "1,5", "0x5", "1e999"])
def test_numbers_of_boxes_are_finite(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.xml").write_text(GOOD.replace("<xmin>1<", f"<xmin>{value}<"))
    with pytest.raises(ValueError, match=r"a\.xml: the box of é cannot be read"):
        read_annotation(tmp_path / "a.xml")


def test_what_is_no_file_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.xml")
    with time_limit():
        for name, message in (
            ("pipe.xml", "is no file: mend"),
            ("gone.xml", "does not exist: mend"),
            ("", "is no file"),
        ):
            with pytest.raises(FileNotFoundError, match=message):
                read_xml(tmp_path / name, "mend it")
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 10)
    (tmp_path / "large.xml").write_text(GOOD)
    with pytest.raises(ValueError, match=r"large\.xml is larger than"):
        read_xml(tmp_path / "large.xml", "mend it")
    with pytest.raises(ValueError, match="a is larger than"):
        parse_json(b"[1, 2, 3, 4, 5]", "a")


JSON = {
    "empty": b"",
    "zeros": b"\0\0",
    "torn": b'{"a": ',
    "two": b"1 2",
    "single quotes": b"{'a': 1}",
    "comment": b"{} // a",
    "trailing comma": b"[1,]",
    "NaN": b"[NaN]",
    "Infinity": b"[-Infinity]",
    "doubled": b'[{"a": 1, "b": 2, "a": 1}]',
    "doubled by escape": b'{"a": 1, "\\u0061": 2}',
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "long number": b"1" * 10_000,
    "latin-1": '"é"'.encode("latin-1"),
    "utf-16": '"é"'.encode("utf-16"),
    "control character": b'"\x01"',
}


@pytest.mark.parametrize("name", JSON)
def test_broken_json_is_a_sentence(name: str) -> None:
    with time_limit(), pytest.raises(ValueError, match=r"^a\.json is (not|no) JSON") as told:
        parse_json(JSON[name], "a.json")
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


def test_json_as_it_should_be() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1.5, "\\u00e9", null]}', "a") == {"a": [1.5, "é", None]}
    assert parse_json('{"a": 1, "a": 2}', "a", repeats=True) == {"a": 2}
