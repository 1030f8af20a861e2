"""Where rows, training snapshots, facts and the files of a run are stored."""
