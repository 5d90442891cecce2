"""How does a torch device score? In torch everywhere, in fused Triton kernels where there are some, to the same bits as the CPU."""
