"""Grafana's dashboards and provisioning as code: project specs in, JSON and YAML out."""
