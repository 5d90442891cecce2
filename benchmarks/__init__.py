"""The benchmark suite: `python -m benchmarks list | run | render | compare | peers`."""
