"""Modeling: features are selected, candidates trained by AutoML, and judged on unseen rows."""
