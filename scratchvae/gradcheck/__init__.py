"""Check that a backward pass agrees with its forward pass.

A backward maps dy to dx = J^T dy, the gradient of the number <y, dy>. Four methods check that:

    central     (<y(x + h e), dy> - <y(x - h e), dy>) / 2h    element by element, any function; 1e-9
    direction   the same along random v instead of e: two evaluations cover a whole gradient
    complex     Im <y(x + i h e), dy> / h, h = 1e-100         analytic functions; 1e-15
    adjoint     <f(v) - f(0), dy> = <v, J^T dy>               linear functions; 1e-15, no step

One check, in reading order:

    check.py         the functions to call: check, check_op, check_layer, check_model
    subject.py       a pair of functions, a layer or a model as a Subject: tensors, gradients, y
    judge.py         compare: for each tensor, backward against differences, and a verdict
    differences.py   a Line through a tensor, and the four formulas above along it
    hints.py         what kind of mistake a wrong gradient looks like; phrases.py: its words
    report.py        the table, and the error with tensor and element
    trials.py        other dy, a second call, non-contiguous arrays, dependence between images
    rounding.py      functions that are less precise than float64

docs/gradients.md explains the method. No gradient check can detect a wrong forward.
"""

from .check import check, check_layer, check_model, check_op
from .differences import NotAnalytic, NotLinear, error_curve, tensor_error
from .judge import compare
from .report import METHODS, GradientError, Report, Result
from .subject import of_layer, of_model, of_pair

__all__ = [
    "METHODS",
    "GradientError",
    "NotAnalytic",
    "NotLinear",
    "Report",
    "Result",
    "check",
    "check_layer",
    "check_model",
    "check_op",
    "compare",
    "error_curve",
    "of_layer",
    "of_model",
    "of_pair",
    "tensor_error",
]
