"""The retry budget: however much fails, retries add at most a tenth to the load.

The idea is that of Finagle's RetryBudget (and of gRPC's retry throttling, proposal A6): calls
earn a fraction of a retry, retries spend it. Without a clock, so that a call which succeeds costs
one addition.
"""

import threading

# Retries that are there at first, so that few calls can be retried at all.
RESERVE = 10


class RetryBudget:
    """Allows `ratio` retries for each call.

    At first `RESERVE` may be spent in advance; they have to be earned back before the next, so that
    after `RESERVE / ratio` calls the whole is below `ratio`. In advance again only after about as
    many calls without a failure.
    """

    __slots__ = ("_balance", "_lock", "_overdraft", "_seen", "calls", "ratio", "told")

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        # Counted without the lock: an addition that threads lose makes the budget smaller, not larger.
        self.calls = 0
        self._seen = 0
        self._balance = 0.0
        self._overdraft = True
        # Whether it was told that nothing is left; the policy's, until there is something in advance again.
        self.told = False
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take one retry, if there is one."""
        with self._lock:
            self._earn()
            if self._balance >= 1:
                self._balance -= 1
                return True
            if self._overdraft and self._balance > 1 - RESERVE - 1e-9:
                self._balance -= 1
                return True
            self._overdraft = False
            return False

    def _earn(self) -> None:
        fresh, self._seen = self.calls - self._seen, self.calls
        self._balance = min(1.0, self._balance + fresh * self.ratio)
        # That many calls without a failure have also paid back all that was overdrawn.
        if fresh * self.ratio > RESERVE + 1:
            self._overdraft, self.told = True, False
