"""Decisions, scores, intervals, calibration, comparisons, diagnosis. Arrays in, numbers out; no files, no torch."""
