"""The client of a project's scoring service: how it is configured, started, called and stopped."""
