"""Predict a subnet's KL to the task teacher from single replacements and scored subnets."""

from nuwa_search.predictors.accuracy.changes import ChangeModel, singles_from_library
from nuwa_search.predictors.accuracy.predictor import KLPredictor
from nuwa_search.predictors.accuracy.prior import AdditivePrior, flat_prior, prior_from_library
from nuwa_search.predictors.accuracy.report import AccuracyReport, cross_validate, report_card

__all__ = [
    "AccuracyReport",
    "AdditivePrior",
    "ChangeModel",
    "KLPredictor",
    "cross_validate",
    "flat_prior",
    "prior_from_library",
    "report_card",
    "singles_from_library",
]
