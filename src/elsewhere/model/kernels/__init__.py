"""The C++ kernels and their loader, which compares both sides of every call; knows arrays, no networks."""
