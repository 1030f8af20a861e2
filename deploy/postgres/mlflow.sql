-- MLflow's tables lie in a database of their own, beside the platform's.
CREATE DATABASE mlflow;
