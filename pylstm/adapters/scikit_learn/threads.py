"""How many threads an estimator uses where joblib runs several of them at once."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

Method = TypeVar("Method", bound=Callable[..., Any])


def in_check(method: Method) -> Method:
    """A method that runs on one thread where it is one of many that joblib has in threads or in forked processes.

    In the processes of joblib's default (loky) there is nothing to do: it starts each of them with OMP_NUM_THREADS set
    to its share of the cores, which pylstm reads.
    """

    @functools.wraps(method)
    def limited(*args: Any, **kwargs: Any) -> Any:
        with threadpool_limits(1, user_api="openmp") if _one_of_many() else contextlib.nullcontext():
            return method(*args, **kwargs)

    return limited  # type: ignore[return-value]


def _one_of_many() -> bool:
    if threading.current_thread() is threading.main_thread() and not multiprocessing.current_process().daemon:
        return False
    return bool(get_active_backend()[0].nesting_level)
