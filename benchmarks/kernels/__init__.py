"""Kernels against this machine's peaks and against other MaxSim implementations."""
