"""`python -m uno.cli`."""

from uno.cli import main

main()
