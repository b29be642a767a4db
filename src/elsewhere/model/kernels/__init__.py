"""Stored voxels in, predictions out: level 1 streamed through a compiled kernel, the plain module's values."""
