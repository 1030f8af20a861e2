"""A project's rows: read through its own function, placed on the grid, and checked against the declared columns."""
