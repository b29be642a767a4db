"""Scans ready to be drawn in; one page that shows them with their overlays, by NiiVue, out."""
