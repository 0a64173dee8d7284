"""Predict a subnet's KL to the task teacher from single replacements and scored subnets."""

from predictors.accuracy.predictor import KLPredictor
from predictors.accuracy.prior import AdditivePrior, flat_prior, prior_from_library
from predictors.accuracy.report import AccuracyReport, cross_validate, report_card

__all__ = [
    "AccuracyReport",
    "AdditivePrior",
    "KLPredictor",
    "cross_validate",
    "flat_prior",
    "prior_from_library",
    "report_card",
]
