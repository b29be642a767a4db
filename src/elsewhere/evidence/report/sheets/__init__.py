"""A report in; its TRIPOD+AI and CLAIM sheets, filled from the run, out."""

from elsewhere.evidence.report.sheets.claim import CLAIM
from elsewhere.evidence.report.sheets.sheet import FILLED, OPEN, PARTLY, Item, Sheet, fill
from elsewhere.evidence.report.sheets.tripod import TRIPOD_AI

SHEETS: tuple[Sheet, ...] = (TRIPOD_AI, CLAIM)

__all__ = ["CLAIM", "FILLED", "OPEN", "PARTLY", "SHEETS", "TRIPOD_AI", "Item", "Sheet", "fill"]
