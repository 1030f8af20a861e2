"""Charts as PNG images: each function takes a table and returns the bytes of a PNG."""
