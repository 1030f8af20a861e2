"""Business understanding: the business case, and whether a quick model meets its success criterion."""
