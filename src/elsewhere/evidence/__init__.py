"""Evidence: decisions, scores, intervals, figures and the page. Arrays in; knows neither scans nor torch."""
