"""The living definition of the op list: the same integers in plain NumPy, slow and plain."""

from r329fast.reference.interpreter import run_program

__all__ = ["run_program"]
