"""Half-hourly direction of the electricity price in New South Wales."""
