"""The prediction log, its copy in InfluxDB, and the forwarder between them."""
