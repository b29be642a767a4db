"""Scans: one examination as its site tells it, its volume, and the store. The only wing that knows file formats."""
