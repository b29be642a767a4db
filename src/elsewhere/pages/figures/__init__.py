"""Plain numbers in; drawings out (SVG, PNG, inline SVG), one file a kind of picture."""

from elsewhere.pages.figures.calibration import BenefitPanel, ReliabilityPanel, benefit_grid, reliability_grid
from elsewhere.pages.figures.canvas import Canvas
from elsewhere.pages.figures.cells import MatrixCell, StripRow, auc_matrix, auc_strip
from elsewhere.pages.figures.confusion import ConfusionPanel, confusion_grid
from elsewhere.pages.figures.curves import TrainingPanel, training_sheet
from elsewhere.pages.figures.dose import DosePanel, dose_grid
from elsewhere.pages.figures.forest import ForestPanel, ForestRow, ForestScale, forest
from elsewhere.pages.figures.pairs import Pair, pair_sheet
from elsewhere.pages.figures.roc import RocPanel, closed_curve, roc_grid
from elsewhere.pages.figures.slices import slice_sheet

__all__ = [
    "BenefitPanel",
    "Canvas",
    "ConfusionPanel",
    "DosePanel",
    "ForestPanel",
    "ForestRow",
    "ForestScale",
    "MatrixCell",
    "Pair",
    "ReliabilityPanel",
    "RocPanel",
    "StripRow",
    "TrainingPanel",
    "auc_matrix",
    "auc_strip",
    "benefit_grid",
    "closed_curve",
    "confusion_grid",
    "dose_grid",
    "forest",
    "pair_sheet",
    "reliability_grid",
    "roc_grid",
    "slice_sheet",
    "training_sheet",
]
