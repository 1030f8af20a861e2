"""Deployment: the gate, promotions, the scoring service and its predictions."""
