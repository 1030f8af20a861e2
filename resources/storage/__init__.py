"""Storage of rows, training snapshots and the files of a run."""
