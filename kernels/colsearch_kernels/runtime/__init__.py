"""How does a kernel run? The instruction set is chosen, machine code is compiled or read from its cache, threads share the work."""
