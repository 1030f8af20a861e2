# PostgreSQL, InfluxDB and the emulator of the bucket in one image, for a cluster without a registry.
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 mlops
COPY influxd fake-gcs-server /usr/local/bin/
ENV PATH=/usr/lib/postgresql/15/bin:$PATH
USER 1000
