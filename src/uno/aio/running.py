"""`run_application`: a program that runs until it is told to stop."""

import asyncio
from contextlib import AsyncExitStack

from uno import clock
from uno.aio.ending import end_within
from uno.aio.manager import AsyncManager, Stage, get_async_manager
from uno.aio.stopping import CLOSING, told_to_stop
from uno.aio.verbs import Verb, done, require_verb, within


async def run_application(
    startup_func: Verb | None = None, cleanup_func: Verb | None = None, *, grace: float | None = None
) -> None:
    """Start the manager of this event loop, call `startup_func()`, and wait for SIGINT, SIGTERM or
    `request_shutdown()`; then finish the tasks, call `cleanup_func()` and close the resources.

        asyncio.run(run_application(startup, cleanup))

    `grace` is how many seconds what was begun has for finishing (the manager's, 10 otherwise). Both functions may be
    async. What `startup_func` raises comes out after the cleanup. A signal while it starts cancels it, and while the
    manager starts, the start of that: then neither function is called. A second signal ends the process at once, and
    what does not end by itself, also after this, is ended with it two seconds after the grace period. Raises
    `Misconfigured` for what cannot be called, and `TimedOut` where the cleanup hangs.
    """
    require_verb("run_application", "startup_func", startup_func)
    require_verb("run_application", "cleanup_func", cleanup_func)
    manager = get_async_manager()
    with told_to_stop(manager.request_shutdown, manager.remaining):
        async with AsyncExitStack() as stack:
            if not await _entered(stack, manager, grace):
                return
            try:
                if await _started(manager, startup_func):
                    await manager.wait_for_shutdown()
            finally:
                await _cleaned(manager, cleanup_func)


async def _entered(stack: AsyncExitStack, manager: AsyncManager, grace: float | None) -> bool:
    """Whether the manager started before somebody wanted to stop; if not, its start is broken off and undone."""
    limit, starting = clock.timeout(None), asyncio.current_task()

    def give_up() -> None:
        # One that has stopped was told in its life before, and a start that fails tells everybody itself.
        if manager.stage is not Stage.STOPPED and asyncio.current_task() is not starting:
            limit.reschedule(asyncio.get_running_loop().time())

    try:
        async with limit:
            forget = manager.on_stopping(give_up)
            try:
                await stack.enter_async_context(manager.running(grace=grace))
            finally:
                forget()
    except TimeoutError:
        if not limit.expired():
            raise
    return not manager.is_shutting_down()


async def _started(manager: AsyncManager, startup: Verb | None) -> bool:
    """Whether it came to its end before somebody wanted to stop."""
    if startup is None:
        return True
    starting = asyncio.create_task(done(startup), name="uno startup")
    told = asyncio.create_task(manager.wait_for_shutdown())
    try:
        await asyncio.wait([starting, told], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            return True
        return False
    finally:
        told.cancel()
        if not starting.done():
            await end_within(starting, manager.remaining())


async def _cleaned(manager: AsyncManager, cleanup: Verb | None) -> None:
    await manager.finish_tasks()
    if cleanup is not None:
        seconds = manager.remaining() + CLOSING
        await within(done(cleanup), seconds, "The cleanup of the application", "let it end sooner")
