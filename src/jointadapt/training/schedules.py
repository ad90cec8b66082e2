"""Progress p ∈ [0, 1] of training → trade-off λ(p) and learning rate η(p)."""

import math


def trade_off(p: float, ceiling: float = 1.0) -> float:
    """Return λ_p = ceiling · (2 / (1 + exp(−10 p)) − 1): 0 at the start, close to the ceiling from p = 0.5 on.

    Source: Ganin et al., JMLR 2016, Sec. 5.2.2; Long et al., ICML 2017, Sec. 5.1.

    >>> [round(trade_off(p), 3) for p in (0.0, 0.1, 0.5, 1.0)]
    [0.0, 0.462, 0.987, 1.0]
    """
    return ceiling * (2 / (1 + math.exp(-10 * p)) - 1)


def learning_rate(p: float, initial: float = 0.01, slope: float = 10.0, power: float = 0.75) -> float:
    """Return η_p = initial / (1 + slope · p)^power.

    Source: Ganin et al., JMLR 2016, Sec. 5.2.2; Long et al., ICML 2017, Sec. 5.1.

    >>> [round(learning_rate(p), 5) for p in (0.0, 1.0)]
    [0.01, 0.00166]
    """
    return initial / (1 + slope * p) ** power
