"""The target accuracy that is expected of a model without target labels.

`estimators` are the literature's formulas, `combination` makes one number with an interval of them, and
`probability_tables` reads what any other model says.
"""

from jointadapt.diagnostics.accuracy.combination import Parts, Rows, combine, estimate_accuracy, measure, untold

__all__ = ["Parts", "Rows", "combine", "estimate_accuracy", "measure", "untold"]
