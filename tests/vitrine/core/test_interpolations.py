"""What a resolver gave is an interpolation again, wherever it went."""

import json
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from vitrine.core.interpolations import with_interpolations

RAW = {
    "token": "${oc.env:VITRINE_TEST_TOKEN}",
    "whole": {"nested": {"copy": "${token}", "number": "${oc.decode:${oc.env:VITRINE_TEST_NUMBER,3}}"}},
    "root": "data/${oc.env:VITRINE_TEST_TOKEN}/${name}",
    "far": "${.root}/again",
    "node": "${whole.nested}",
    "listed": ["a", "${oc.env:VITRINE_TEST_TOKEN}", {"b": "${listed.1}"}],
    "name": "birds",
    "plain": "${name}",
    "rate": 1e-05,
    "none": None,
}


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("VITRINE_TEST_TOKEN", "se${cret: 'x'")
    values = OmegaConf.to_container(OmegaConf.create(RAW), resolve=True)
    assert isinstance(values, dict)
    assert "cret" in str(values)
    return values  # type: ignore[return-value]


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump])
def test_values_of_resolvers_are_interpolations_again(resolved: dict[str, Any], dump: Any) -> None:
    text = with_interpolations(dump(resolved), yaml.safe_dump(RAW))
    assert "cret" not in text
    read = json.loads(text) if dump is json.dumps else yaml.safe_load(text)
    assert read == {**RAW, "plain": "birds"}
    assert OmegaConf.to_container(OmegaConf.create(read), resolve=True) == resolved


def test_other_configurations_stay_as_they_are() -> None:
    text = "a: 1 # as written\n"
    assert with_interpolations(text, "{a: '${b}', b: 1}") == text


def test_keys_that_are_left_out_stay_out() -> None:
    raw = "{a: '${oc.env:HOME}', b: {c: '${oc.env:HOME}'}, d: ['${oc.env:HOME}']}"
    assert yaml.safe_load(with_interpolations("{b: null, d: []}", raw)) == {"b": None, "d": []}
