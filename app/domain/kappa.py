"""Kappa statistics: Cohen's for two labelers, Fleiss' for many, from the same matrices as alpha.

Both compare the observed agreement with the agreement expected from the labelers' own marginal
frequencies: Cohen (1960) multiplies the frequencies of the two, Fleiss (1971) squares those of all
together. Unlike alpha they do not correct for few judgments, and a tie is as far from a preference
as its opposite.
"""

import numpy as np

from app.domain.krippendorff import Array

_ROUNDING = 1e-12


def of_matrices(matrices: Array) -> Array:
    """Compute kappa of each matrix; NaN where chance alone would agree.

    Args:
        matrices: Shape (b, v, v). For Cohen's kappa entry (i, j) is the weight of the units to
            which the first labeler gave value i and the second value j. For Fleiss' kappa it is a
            sum of coincidence matrices, each scaled to a total of 1: with the same number of
            judgments everywhere that is Fleiss' definition, and with unequal numbers Gwet's
            generalization (2014, Handbook of Inter-Rater Reliability, chapter 2), except that
            units judged once are left out, as in alpha.
    """
    total = matrices.sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.trace(matrices, axis1=1, axis2=2) / total
        rows, columns = matrices.sum(axis=2), matrices.sum(axis=1)
        expected = (rows * columns).sum(axis=1) / (total * total)
        result: Array = np.where(
            expected < 1 - _ROUNDING, (observed - expected) / (1 - expected), np.nan
        )
    return result
