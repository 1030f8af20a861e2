"""The systems outside the project's code, as settings configure them: stores, MLflow, telemetry, services, computation.

Phases use them through the protocols of `mlops_assets.context`.
"""
