"""Applications to read, run and copy from: `inventory`."""

__all__: list[str] = []
