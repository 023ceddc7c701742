"""What raises in the middle of a limiter, such as the handler of a signal, breaks nothing in it."""

import subprocess
import sys

# Every instruction of the path that all calls take, one after the other.
INSTRUCTIONS = """
import sys
from uno.resilience import RateLimiter, limit
from uno.resilience.shapes import finish

class Interrupt(BaseException): pass

def interrupted_at(number, call):
    def trace(frame, event, _):
        nonlocal number
        if frame.f_code.co_filename != limit.__file__:
            return None
        frame.f_trace_opcodes = True
        number -= event == "opcode"
        if number < 0:
            raise Interrupt
        return trace
    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(None)
    return False

async def call(): pass

for path in (lambda one: one.try_acquire(), lambda one: finish(one.call(call))):
    number = 0
    while True:
        one = RateLimiter(rate=0.001, burst=5)
        cut = interrupted_at(number, lambda: path(one))
        taken = sum(not one.try_acquire() for _ in range(10))
        assert 4 <= taken <= 5, (number, taken)
        if not cut:
            break
        number += 1
    assert number > 30
print("works")
"""

# Thousands of signals, wherever they hit; the threads are there to be waited for and to wait.
SIGNALS = """
import random, signal, threading, time
from uno.resilience import RateLimiter
from uno.resilience.shapes import finish

class Interrupt(BaseException): pass

def handler(*_):
    global interrupts
    interrupts += 1
    raise Interrupt

interrupts = 0
quick = RateLimiter(rate=1e6, burst=10)
waiting = RateLimiter(rate=2e4, burst=1, block=True)
done = threading.Event()
served = [0, 0]

def work(number):
    while not done.is_set():
        waiting.acquire(key=number % 2 or None)
        served[number] += 1

def use():
    quick.try_acquire()
    quick.try_acquire(key=random.random())
    quick.reset()
    waiting.acquire()
    waiting.acquire(key=1)

async def call(): pass

threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in (0, 1)]
for thread in threads:
    thread.start()
before = signal.signal(signal.SIGALRM, handler)
end = time.monotonic() + 60
while interrupts < 3000 and time.monotonic() < end:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 4e-4))
        while True:
            use()
    except Interrupt:
        pass
signal.signal(signal.SIGALRM, signal.SIG_IGN)
assert interrupts == 3000, interrupts

at, end = served[:], time.monotonic() + 30
use()  # whom an interrupt has left waiting, the next one who comes wakes
while not (served[0] > at[0] + 5 and served[1] > at[1] + 5):
    assert time.monotonic() < end, (at, served)
    time.sleep(0.001)
done.set()
for thread in threads:
    thread.join(30)
use()
assert waiting._own.line is None
assert all(bucket.line is None for bucket in waiting._keys.values())
full = RateLimiter(rate=0.001, burst=5)
finish(full.call(call))
print("works")
"""


def works(program: str) -> bool:
    # In a process of its own: a limiter that is broken may never come back.
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout == "works\n", ran.stderr[-2000:]
    return True


def test_an_exception_at_any_instruction_leaves_a_limiter_that_works() -> None:
    assert works(INSTRUCTIONS)


def test_after_thousands_of_signals_the_limiter_works_and_nobody_waits_for_ever() -> None:
    assert works(SIGNALS)
