"""What a contestant does: it warms up, then measures a round each time it is told to. Standard library only."""

from __future__ import annotations

import json
import math
import resource
import sys
import time

__all__ = ["Rounds"]

MEBIBYTE = 2**20 if sys.platform == "darwin" else 2**10  # in the units of ru_maxrss


def peak() -> float:
    """MiB resident at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBIBYTE


IMPORTED = peak()  # where this module is imported last


class Rounds:
    """Called after each epoch. It answers the time of a round and blocks until the next; True means stop.

    The epochs of a round are as many as fill ``seconds``, at least one; they are counted in the warm-up, which lasts
    ``warm_up`` epochs or more, until ``seconds`` have passed. What the warm-up took beyond as many of its fastest
    epochs is called set-up. Time passes for a contestant from the line that says go to the call that ends its round,
    so that all counts that it does between two steps or two epochs.
    """

    def __init__(self, seconds: float, warm_up: int, steps: int, **about: object) -> None:
        self.seconds, self.warm_up, self.steps, self.about = seconds, warm_up, steps, about
        self.answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints goes to the log
        self.fastest, self.done, self.per_round = math.inf, 0, 0
        self.start = self.began = self.last = time.perf_counter()

    def __call__(self, _: object = None) -> bool:
        now, self.done = time.perf_counter(), self.done + 1
        self.fastest, self.last = min(self.fastest, now - self.last), now
        if not self.per_round:
            if self.done < self.warm_up or now - self.start < self.seconds:
                return False
            self.per_round = max(1, round(self.seconds / self.fastest))
            set_up = now - self.start - self.done * self.fastest
            return self._wait(set_up=set_up, epochs=self.per_round, steps=self.steps, before=IMPORTED, **self.about)
        if self.done < self.per_round:
            return False
        return self._wait(seconds=(now - self.began) / (self.steps * self.per_round))

    def say(self, **answer: object) -> None:
        """Tell the driver."""
        print(json.dumps({**answer, "peak": peak()}), file=self.answers, flush=True)

    def _wait(self, **answer: object) -> bool:
        self.say(**answer)
        told = sys.stdin.readline().strip()
        self.done, self.began = 0, time.perf_counter()
        return told != "go"
