"""LRP rules of operators without weights: activation functions, normalisations, products, attention and gates.

What goes down is a signal g, relevance R = x ⊙ g (see `vitrine.attribution.lrp.weighted_rules`). Then operators that are
linear, or as ReLU proportional to their input, keep their own gradient: sums in proportion, poolings, rearrangements. The
rules of the others are those of AttnLRP (Achtibat et al., ICML 2024):

- an activation function y(x) passes relevance on, which is the signal times y/x;
- a product of two activations shares equally, each factor half, in which way relevance is conserved;
- a softmax has the Taylor expansion at its input, which in terms of signals is its gradient;
- statistics of a normalisation, and other denominators, are constants;
- a sigmoid that a product takes as its gate is a constant, so that all goes to the features (signal-take-all; Arras et al.
  2017): its y/x is not bounded.
"""

from typing import Any

from torch import Tensor

from vitrine.attribution.autograd.calls import Call, words
from vitrine.attribution.autograd.interception import Rule
from vitrine.attribution.autograd.rules import CASTS, DROPOUTS, MEANS, SELECTIONS, STRUCTURAL, cast
from vitrine.attribution.lrp.composites import Attention
from vitrine.attribution.lrp.elementwise import constant, elementwise_rules
from vitrine.attribution.lrp.normalisations import normalisation_rules
from vitrine.attribution.lrp.products import product_rules
from vitrine.attribution.lrp.weighted_rules import stabilised

SOFTMAXES = words("softmax softmin")

LINEAR = MEANS | words(
    "add sub rsub neg positive conj real imag cumsum view_as_complex view_as_real lerp interpolate upsample grid_sample"
    " fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn fft_fftshift"
    " fft_ifftshift batch_norm fold col2im im2col complex polar nansum zero fill"
)
"""Operators that are linear in what depends on the pixels, but for constants that are added."""

OWN_GRADIENT = STRUCTURAL | SELECTIONS | LINEAR
"""Operators that keep their own gradient."""


def operator_rules(attention: Attention, stabiliser: float) -> dict[str, Rule]:
    """Rules by operator name; operators of `OWN_GRADIENT` need none.

    Args:
        attention: as in `Composite`.
        stabiliser: as in `Composite`.
    """
    rules: dict[str, Rule] = dict.fromkeys(DROPOUTS, own_gradient) | dict.fromkeys(CASTS, cast)
    rules |= dict.fromkeys(SOFTMAXES, constant if attention == "constant" else own_gradient)
    if stabiliser:
        rules |= dict.fromkeys(MEANS, lambda call: with_stabiliser(call, stabiliser))
    return rules | elementwise_rules() | product_rules(attention) | normalisation_rules()


def own_gradient(call: Call) -> Any:
    """The ordinary value, with its own gradient."""
    return call()


def with_stabiliser(call: Call, epsilon: float) -> Any:
    """A linear operator's value z with its own gradient, of a signal times z / (z + ε sign(z))."""
    output = call()
    if epsilon and isinstance(output, Tensor) and output.requires_grad:
        ratio = output.detach() / stabilised(output.detach(), epsilon)
        output.register_hook(lambda signal: signal * ratio)  # type: ignore[no-untyped-call]
    return output
