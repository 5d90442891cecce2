"""How is a query answered? The engine plans a scan or asks the prefilter for candidates, and MaxSim ranks what they name."""
