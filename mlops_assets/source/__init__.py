"""Reads a project's rows through its own function, and validates them against the declared columns."""
