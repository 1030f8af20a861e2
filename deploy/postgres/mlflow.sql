-- MLflow's tables are in a database of their own.
CREATE DATABASE mlflow;
