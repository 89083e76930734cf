"""How few parts or objects a histogram rests on (section 4.1 of Qi et al.)."""

import torch
from torch import Tensor


def locality(histogram: Tensor) -> Tensor:
    """H_n = −Σ_p q_p log q_p in nats, with q = S̄_p / Σ_p S̄_p and 0 log 0 = 0 (section 4.1 of Qi et al.).

    It is 0 where all lies on one part, log k where it is spread evenly over k of them.

    Args:
        histogram: (n, P) not negative: what each x-feature has on each part or object.

    Returns:
        (n,) float64; NaN for a row of zeros or with NaN in it.
    """
    mass = histogram.double()
    whole = mass.sum(dim=1, keepdim=True)
    entropies: Tensor = torch.special.entr(mass / whole).sum(dim=1)
    return entropies.masked_fill(whole[:, 0] == 0, torch.nan)  # also where there is no column that could hold NaN
