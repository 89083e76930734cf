"""Composites of LRP: presets and their options."""

import pytest

from vitrine.attribution.lrp.composites import Composite, composite_named
from vitrine.attribution.lrp.weighted_rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus


def test_presets() -> None:
    dense = Epsilon(1e-3)
    assert composite_named("epsilon", 1e-3) == Composite(dense, dense, stabiliser=1e-6)
    assert composite_named("epsilon_gamma_box", 1e-3, 0.1) == Composite(Gamma(0.1), dense, ZBox(), stabiliser=1e-6)
    assert composite_named("epsilon_plus", 1e-3) == Composite(ZPlus(), dense, stabiliser=1e-6)
    assert composite_named("alpha2_beta1", 1e-3) == Composite(AlphaBeta(2, 1), dense, stabiliser=1e-6)
    assert composite_named("attn") == composite_named("epsilon") == Composite(Epsilon(0.0), Epsilon(0.0))
    assert composite_named("epsilon_plus").dense == Epsilon(1e-6)
    assert composite_named("epsilon_gamma_box").convolution == Gamma(0.25)
    assert composite_named("attn", gamma=0.25) == Composite(Gamma(0.25), Gamma(0.05))
    assert composite_named("epsilon", attention="constant").attention == "constant"


@pytest.mark.parametrize(("name", "rule"), [("flat", Flat()), ("w_square", WSquare()), ("box", ZBox())])
def test_another_rule_for_the_first_layer(name: str, rule: object) -> None:
    plus = composite_named("epsilon_plus")
    assert plus.with_first(name).first == rule  # type: ignore[arg-type]
    assert plus.with_first(name).convolution == ZPlus()  # type: ignore[arg-type]
    assert plus.with_first("composite") is plus
