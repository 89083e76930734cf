"""What a parser says, in one sentence that names key and value."""

from typing import Literal

import pytest

from vitrine.core.parser_messages import accepted_keys, one_sentence


class Base:
    def __init__(self, lr: float = 0.1, epochs: int = 3) -> None: ...


class Passing(Base):
    def __init__(self, width: int = 8, **options: float) -> None:
        self.width = width
        super().__init__(**options)  # type: ignore[arg-type]


class Root:
    def __init__(self, inner: Base, mode: Literal["a", "b"] = "a") -> None: ...


def test_parameters_with_those_that_are_passed_on() -> None:
    assert accepted_keys(Base) == ["lr", "epochs"]
    assert accepted_keys(Passing) == ["width", "lr", "epochs"]
    assert accepted_keys(Root, ["inner"]) == ["lr", "epochs"]


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("unrecognized arguments: --root.modee", ["root.modee", "did you mean mode?"]),
        ("unrecognized arguments: --root.inner.epoch", ["root.inner.epoch", "did you mean epochs?"]),
        ("unrecognized arguments: --stray", ["stray"]),
        (
            "Parser key \"root.mode\":\n  Expected a <class 'int'>. Got value: fast",
            ["root.mode", "'fast'", "a whole number"],
        ),
        (
            "Parser key \"data\": Expected a typing.Literal['a', 'b']. Got value: c",
            ["data", "'c'", "'a' or 'b'"],
        ),
        ('Parser key "model": Unexpected import path format: Passin', ["model", "'Passin'", "did you mean Passing?"]),
        ('Parser key "data": Expected a dot import path string: my/data.yaml', ["data", "file", "'my/data.yaml'"]),
        ("Something else\n   went wrong", ["Something else went wrong"]),
    ],
)
def test_a_sentence_names_key_and_value(message: str, parts: list[str]) -> None:
    sentence = one_sentence(message, ["Passing", "Root"], {"root": Root})
    assert "\n" not in sentence
    for part in parts:
        assert part in sentence


def test_of_several_types_the_reason_that_goes_deepest_is_told() -> None:
    message = """Parser key "model": Does not validate against any of the Union subtypes
  Subtypes: [<class 'int'>, <class 'NoneType'>]
  Errors:
    - Expected a <class 'int'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: fast
"""
    sentence = one_sentence(message)
    assert "model" in sentence
    assert "'fast'" in sentence
    assert "a whole number or null" in sentence
