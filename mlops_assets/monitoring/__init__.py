"""Monitoring: drift, performance and health of what serves, and the decision on retraining."""
