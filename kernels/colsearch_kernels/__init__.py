"""MaxSim kernels: late-interaction scores over token vectors and over their codes."""
