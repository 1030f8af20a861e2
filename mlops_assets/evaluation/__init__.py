"""Metrics, baselines, splits of the labelled rows, and the comparison of candidate, champion and baseline."""
