"""Keeps the server for `uno db start`: holds the inherited `hold.lock` until it is told to end.

A program of its own, run by its path with `python -IS`: holder.py FD. The lock's file has its pid.
"""

import os
import signal
import sys

if __name__ == "__main__":
    lock = int(sys.argv[1])
    if pid := os.fork():
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(pid).encode(), 0)
        os._exit(0)
    signal.pause()
