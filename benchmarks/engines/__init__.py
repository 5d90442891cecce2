"""One adapter per file; each runs in its engine's own environment.

Each adapter defines `build(folder, workload, **settings)` and `Engine`.
"""
