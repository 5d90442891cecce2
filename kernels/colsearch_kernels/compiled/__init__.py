"""The functions that Numba compiles. They are imported only where machine code is not in the cache yet, see runtime/kernel.py.

A plain public function is a kernel, which Python calls: its annotations say what it takes, see entry.py. It returns an
integer, a float or None, and it allocates nothing. A `subroutine` is a part of kernels. Inside, an array is the address
of its first element, and None is the address 0. The entry checks the types of arguments; their callers check shapes
and contents.
"""
