"""How a project's scoring service is started, addressed and stopped."""
