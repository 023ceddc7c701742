"""The command line, `uno …`: typer declares it, rich draws it.

entry.py       the tree of commands; errors become one sentence and an exit code
reference.py   package.module:attribute → App
serving.py     uno run, uno worker
showing.py     uno routes, uno messages
modules.py     uno modules, uno graph
boundaries.py  uno check: modules keep to themselves
db.py          uno db: the embedded server and the schema
migrations.py  uno db, too: the migrations of an application
environment.py what the env.py of a folder of migrations calls
dead.py        uno dead: deliveries that were given up
doctor.py      uno doctor, and what it looks at
tasks.py       uno tasks, uno resources: a running process
asking.py      what they ask it over HTTP
demo.py        uno demo
check.py       uno demo --check: drives the demo over HTTP
databases.py   which database a command works on, and how it is shown
loop.py        the event loop of a command
output.py      tables, JSON, progress

Exit codes: 0 done, 1 failed (one sentence on standard error), 2 wrongly called, 130 interrupted.
What takes long to import is imported by the command that needs it.
"""

from uno.cli.entry import main

__all__ = ["main"]
