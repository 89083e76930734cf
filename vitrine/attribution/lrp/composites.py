"""Composites of LRP: which rule a convolution, a dense layer, the first convolution and attention follow."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from vitrine.attribution.lrp.weighted_rules import (
    STABILISER,
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    InputRule,
    Rule,
    WSquare,
    ZBox,
    ZPlus,
)

CompositeName = Literal["epsilon", "epsilon_gamma_box", "epsilon_plus", "alpha2_beta1", "attn"]
FirstRule = Literal["composite", "flat", "w_square", "box"]
Attention = Literal["attn", "constant"]


@dataclass(frozen=True)
class Composite:
    """The rules of a network's operators.

    Args:
        convolution: rule of convolutions.
        dense: rule of linear layers, and of products with a weight.
        first: rule of the convolutions and linear layers that read the pixels; None for that of the others.
        attention: ``attn`` shares relevance between attention weights and values, and leads it through the softmax by its
            Taylor expansion (AttnLRP); ``constant`` takes attention weights for constants, so that all goes to the values
            (CP-LRP; Ali et al., ICML 2022).
        stabiliser: added to the denominators of residual sums and mean poolings, with their sign.
    """

    convolution: Rule
    dense: Rule
    first: InputRule | None = None
    attention: Attention = "attn"
    stabiliser: float = 0.0

    def with_first(self, name: FirstRule) -> "Composite":
        """The same composite with another rule for what reads the pixels."""
        if name == "composite":
            return self
        return replace(self, first={"flat": Flat(), "w_square": WSquare(), "box": ZBox()}[name])


def composite_named(
    name: CompositeName, epsilon: float | None = None, gamma: float | None = None, attention: Attention = "attn"
) -> Composite:
    """A preset.

    Args:
        name: ``epsilon`` everywhere; ``epsilon_gamma_box``, ``epsilon_plus`` and ``alpha2_beta1`` have the γ-rule (and z^B
            first), the z⁺-rule and the αβ-rule for convolutions, and ε for dense layers; ``attn`` is AttnLRP, with the
            γ-rule where γ > 0.
        epsilon: ε; without it 0 in ``epsilon`` and ``attn``, where nothing is divided, and 10⁻⁶ in the others.
        gamma: γ; without it 0 in ``attn`` and 0.25 in ``epsilon_gamma_box``. Linear layers in ``attn`` have a fifth of it.
        attention: as in `Composite`.
    """
    plain = Epsilon(0.0 if epsilon is None else epsilon)
    dense = Epsilon(STABILISER if epsilon is None else epsilon)
    presets: Mapping[str, Composite] = {
        "epsilon": Composite(plain, plain, stabiliser=STABILISER if epsilon else 0.0),
        "epsilon_gamma_box": Composite(Gamma(0.25 if gamma is None else gamma), dense, ZBox(), stabiliser=STABILISER),
        "epsilon_plus": Composite(ZPlus(), dense, stabiliser=STABILISER),
        "alpha2_beta1": Composite(AlphaBeta(2.0, 1.0), dense, stabiliser=STABILISER),
        "attn": Composite(Gamma(gamma), Gamma(gamma / 5)) if gamma else Composite(plain, plain),
    }
    return replace(presets[name], attention=attention)
