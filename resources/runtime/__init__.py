"""Processes, health probes and waiting for servers."""
