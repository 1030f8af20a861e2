"""Acquisition: rows are read, audited and published; labelled ones become the training snapshot."""
