"""Migrations of an application's own tables, over Alembic.

folder.py       the folder of them: making it, finding it, which application it is of
scripts.py      the folder as Alembic sees it
environment.py  what Alembic is told: tables, types, how to compare
written.py      what is written down of types and values, and whether it is Python
defaults.py     how defaults are compared
comparing.py    what differs, as data and as lines
enums.py        the enumerated types of PostgreSQL, which come and go with their columns
connection.py   the connection that changes the schema: one at a time, all or nothing
failures.py     what goes wrong, in one sentence
driving.py      `Migrations`: revise, upgrade, downgrade, compare

Alembic takes long to import, so that only those who need it import these files.
"""
