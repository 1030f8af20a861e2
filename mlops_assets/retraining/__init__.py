"""The retraining policy: its evidence, its decisions, their wording, and when a training is tried again."""
