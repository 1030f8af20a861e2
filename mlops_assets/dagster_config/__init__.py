"""The dagster.yaml files that the platform ships: on the state folder, and on PostgreSQL."""
