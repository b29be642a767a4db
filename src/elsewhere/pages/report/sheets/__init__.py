"""A report in; its TRIPOD+AI and CLAIM sheets, filled from the run, out."""

from elsewhere.pages.report.sheets.claim import CLAIM
from elsewhere.pages.report.sheets.sheet import FILLED, OPEN, PARTLY, Item, Sheet, fill
from elsewhere.pages.report.sheets.tripod import TRIPOD_AI

SHEETS: tuple[Sheet, ...] = (TRIPOD_AI, CLAIM)

__all__ = ["CLAIM", "FILLED", "OPEN", "PARTLY", "SHEETS", "TRIPOD_AI", "Item", "Sheet", "fill"]
