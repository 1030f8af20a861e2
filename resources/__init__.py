"""One module per outside system, configured here and handed in: assets and sensors do not know which one is there."""
