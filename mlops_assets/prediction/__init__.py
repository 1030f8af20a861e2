"""From the inputs of an event to a prediction; the same code for training, evaluation, service and MLflow."""
