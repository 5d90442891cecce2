"""Tests an index after its writer was killed, ours and the peers'; see `figures/figure_durability.py`."""
