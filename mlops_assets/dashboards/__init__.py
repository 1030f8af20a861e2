"""Grafana's dashboards and provisioning as code: JSON and YAML files, made from the projects' specs."""
