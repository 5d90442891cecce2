"""What does Numba compile? The functions of this folder, which are imported only if their machine code is not cached yet.

runtime/kernel.py loads that code.

A plain public function is a kernel, which Python calls: its annotations say what it takes, see entry.py. It returns an
integer, a float or None, and it allocates nothing. A `subroutine` is a part of kernels. Inside, an array is the address
of its first element, and None is the address 0. The entry checks the types of arguments; their callers check shapes
and contents.
"""
