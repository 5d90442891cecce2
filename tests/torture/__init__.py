"""The store's guarantees under kills, power cuts, full disks, damage, hostile bytes and many processes.

`python -m tests.torture --full` runs the long form; the short form is part of `make test`.
"""
