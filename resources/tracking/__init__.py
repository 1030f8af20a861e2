"""MLflow: runs, the model registry, and local copies of model versions."""
