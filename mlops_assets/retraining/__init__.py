"""Evidence in, decision out; and the ledger, which holds every fact of the loop."""
