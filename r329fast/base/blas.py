"""How many threads the BLAS library takes."""

from __future__ import annotations

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits


def one_blas_thread() -> AbstractContextManager[object]:
    """Products of matrices by one thread each: the same sums whatever the machine has.

    Small ones are also faster so: threads that wait for each other cost several times the work.
    Holds for the libraries that are loaded when it begins.
    """
    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits
