"""Bike rentals per hour in Washington, D.C., one day ahead."""
