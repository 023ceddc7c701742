"""The buses that uno is compared with, each used as its own documentation does.

Each gets the same work: a pydantic message of two fields is made inside the timed loop and answered
by a handler without dependencies.
"""

import logging
from collections.abc import Awaitable, Callable

import cqrs
import di
from cqrs.bootstrap import requests
from lato import Application
from lato.message import Command as LatoCommand
from mediatr import Mediator
from pydantic import BaseModel

Loop = Callable[[int], Awaitable[None]]


class MediatrCommand(BaseModel):
    number: int
    text: str


@Mediator.handler
async def _mediatr_handler(request: MediatrCommand) -> int:
    return request.number


async def mediatr(times: int) -> None:
    mediator = Mediator()
    for number in range(times):
        await mediator.send_async(MediatrCommand(number=number, text="text"))


class CqrsCommand(cqrs.PydanticRequest):
    number: int
    text: str


class CqrsAnswer(cqrs.PydanticResponse):
    number: int


class CqrsHandler(cqrs.RequestHandler[CqrsCommand, CqrsAnswer]):
    async def handle(self, request: CqrsCommand) -> CqrsAnswer:
        return _CQRS_ANSWER


# Made once: the other handlers make no pydantic object either.
_CQRS_ANSWER = CqrsAnswer(number=1)


def python_cqrs() -> Loop:
    # Its logging middleware comes with bootstrap(); without a handler it costs two calls.
    logging.getLogger("cqrs").setLevel(logging.ERROR)
    mediator = requests.bootstrap(
        di_container=di.Container(), commands_mapper=lambda mapper: mapper.bind(CqrsCommand, CqrsHandler)
    )

    async def loop(times: int) -> None:
        for number in range(times):
            await mediator.send(CqrsCommand(number=number, text="text"))

    return loop


class LatoMessage(LatoCommand):
    number: int
    text: str


def lato() -> Loop:
    logging.getLogger("lato").setLevel(logging.ERROR)
    application = Application("bench")

    @application.handler(LatoMessage)
    async def handle(command: LatoMessage) -> int:
        return command.number

    async def loop(times: int) -> None:
        for number in range(times):
            await application.execute_async(LatoMessage(number=number, text="text"))

    return loop
