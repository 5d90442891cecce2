"""What is left of an index whose writer was killed, for ours and for the peers; `figures/figure_durability.py`."""
