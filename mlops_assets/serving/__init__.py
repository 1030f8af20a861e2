"""The HTTP scoring service of one project. It imports neither Dagster nor MLflow."""
