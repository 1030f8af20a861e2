"""One module per version of the schema. A released one is never changed."""
