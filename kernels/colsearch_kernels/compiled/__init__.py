"""What numba compiles: imported only where machine code is not in the cache yet, see native.py.

A plain function is a kernel, which Python calls: its arguments are 64-bit integers (numbers and addresses of C
arrays) but for those annotated as floats, it returns an integer or nothing, and it allocates nothing. A `subroutine`
is a part of kernels. Nothing is checked here: whoever calls a kernel has done so.
"""
