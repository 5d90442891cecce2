"""How do vectors lie in memory? Bit planes of documents, queries on a 7-bit grid, the rotation, and the lanes that kernels read."""
