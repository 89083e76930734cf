import inspect

import pytest

from vitrine.attribution.registry import all_methods, method_named
from vitrine.attribution.short_names import SHORT, NamedMethod, find_method, plain


@pytest.mark.parametrize("name", all_methods())
def test_every_method_is_found_in_any_spelling(name: str) -> None:
    assert find_method(name) == find_method(name.lower()) == find_method(f"-{name}_") == NamedMethod(name, {})


@pytest.mark.parametrize("name", SHORT)
def test_short_names_lead_to_methods_that_take_their_arguments(name: str) -> None:
    assert plain(name) == name
    found = find_method(name.upper())
    assert set(found.arguments) <= set(inspect.signature(method_named(found.method)).parameters)
    assert name not in map(plain, all_methods())


def test_unknown_names_have_near_ones_also_of_what_else_may_stand_there() -> None:
    with pytest.raises(ValueError, match="near names: GradCAM"):
        find_method("GradCAN")
    with pytest.raises(ValueError, match="SRAE"):
        find_method("SRAEE", {"SRAE": None})
