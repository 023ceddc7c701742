"""The servers that are compared: the same two operations on the same tables, each in its own way."""
