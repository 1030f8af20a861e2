"""Prepares the chart's small servers for trials. Nothing that exists already is changed."""

import os

import httpx
import psycopg2
import tenacity


@tenacity.retry(
    retry=tenacity.retry_if_exception_type((httpx.TransportError, psycopg2.OperationalError)),
    wait=tenacity.wait_fixed(0.5),
    stop=tenacity.stop_after_delay(90),
    reraise=True,
)
def prepare() -> None:
    """Create the databases, InfluxDB's user, bucket and token, and the lake's bucket."""
    if os.environ["POSTGRESQL"] == "true":
        server = os.environ["MLOPS_ASSETS_DATABASE_URL"].rpartition("/")[0]
        connection = psycopg2.connect(f"{server}/postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name in (os.environ["PLATFORM_DATABASE"], os.environ["MLFLOW_DATABASE"]):
                cursor.execute("select 1 from pg_database where datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(f'create database "{name}"')
        connection.close()
    if os.environ["INFLUXDB"] == "true":
        with httpx.Client(base_url=os.environ["MLOPS_ASSETS_INFLUX_URL"], timeout=10) as client:
            if client.get("/api/v2/setup").raise_for_status().json()["allowed"]:
                token = os.environ["MLOPS_ASSETS_INFLUX_TOKEN"]
                setup = {
                    "username": "mlops",
                    "password": token,
                    "token": token,
                    "org": os.environ["MLOPS_ASSETS_INFLUX_ORG"],
                    "bucket": os.environ["MLOPS_ASSETS_INFLUX_BUCKET"],
                }
                client.post("/api/v2/setup", json=setup).raise_for_status()
    if url := os.environ.get("STORAGE_EMULATOR_HOST"):
        with httpx.Client(base_url=url, timeout=10) as client:
            if client.get(f"/storage/v1/b/{os.environ['BUCKET']}").status_code == 404:
                bucket = {"name": os.environ["BUCKET"], "versioning": {"enabled": True}}
                client.post("/storage/v1/b?project=mlops", json=bucket).raise_for_status()


prepare()
