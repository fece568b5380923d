"""Quantiles of Student's t distribution, without a library that would be needed for nothing else."""

import numpy as np
import numpy.typing as npt

STUDENT_T_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
"""97.5 % quantile of Student's t for 1 to 30 degrees of freedom."""
NORMAL_975 = 1.959964


def student_t_975(freedom: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the 97.5 % quantile of Student's t, to 0.2 %; below one degree of freedom that of one."""
    exact = np.array(STUDENT_T_975)
    index = np.clip(freedom, 1, len(exact)).astype(np.intp) - 1
    # first term of the expansion around the normal distribution (Abramowitz and Stegun 26.7.5)
    expanded = NORMAL_975 + (NORMAL_975**3 + NORMAL_975) / (4 * np.maximum(freedom, 1))
    return np.where(freedom <= len(exact), exact[index], expanded)
