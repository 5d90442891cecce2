"""One adapter a file, run inside the engine's own environment.

Each defines `build(folder, workload, **settings)` and `Engine`.
"""
