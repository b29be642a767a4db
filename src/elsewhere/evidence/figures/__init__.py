"""Plain numbers in; drawings out (SVG, PNG, inline SVG), one file a kind of picture."""

from elsewhere.evidence.figures.calibration import BenefitPanel, ReliabilityPanel, benefit_grid, reliability_grid
from elsewhere.evidence.figures.canvas import Canvas
from elsewhere.evidence.figures.cells import MatrixCell, StripRow, auc_matrix, auc_strip
from elsewhere.evidence.figures.confusion import ConfusionPanel, confusion_grid
from elsewhere.evidence.figures.curves import TrainingPanel, training_sheet
from elsewhere.evidence.figures.dose import DosePanel, dose_grid
from elsewhere.evidence.figures.forest import ForestPanel, ForestRow, ForestScale, forest
from elsewhere.evidence.figures.pairs import Pair, pair_sheet
from elsewhere.evidence.figures.roc import RocPanel, closed_curve, roc_grid
from elsewhere.evidence.figures.slices import slice_sheet

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
