"""The retraining loop: which work is outstanding, how a replay clock advances, and why runs failed."""
