"""MLflow's runs and model registry, and local copies of model versions."""
