"""How are documents scored? MaxSim over codes, floats and bytes, in bulk or candidate by candidate until the stop rule applies."""
