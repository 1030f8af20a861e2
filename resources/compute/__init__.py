"""Computation: H2O's JVM, and the Kubernetes API."""
