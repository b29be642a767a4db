"""Voxels in, what is odd about them out: copies, shuffled slices, encodings, blackened background, padding."""
