"""Proof of the store's guarantees: kills, power cuts, full disks, damage, hostile bytes, many processes.

`python -m tests.torture --full` runs the long form; the short form is part of `make test`.
"""
