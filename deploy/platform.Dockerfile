# The platform: Dagster's webserver, daemon, code location and runs, and the MLflow server.
#   docker build --file deploy/platform.Dockerfile --tag mlops-assets/platform .
FROM python:3.11-slim-bookworm AS packages
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
# uv is installed outside the environment, which is copied as a whole
RUN python3 -m venv /opt/venv && python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==0.13.9
COPY deploy/platform.lock /tmp/
RUN /opt/uv/bin/uv pip install --no-cache --require-hashes --requirements /tmp/platform.lock

# Our own code comes last, so that a change of it keeps the layer of the packages.
FROM packages AS project
RUN /opt/uv/bin/uv pip install --no-cache setuptools==84.2.1
COPY . /srv/mlops-assets
RUN /opt/uv/bin/uv pip install --no-cache --no-deps --no-build-isolation --target /opt/project --editable /srv/mlops-assets \
    && rm /opt/project/.lock && python3 -m compileall -q /srv/mlops-assets /opt/project

FROM python:3.11-slim-bookworm
# DVC keeps its files in a Git repository.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 mlops && install -d -o mlops -g mlops /var/lib/mlops-assets
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DO_NOT_TRACK=true DVC_NO_ANALYTICS=1 \
    MLOPS_ASSETS_HOME=/var/lib/mlops-assets
COPY --from=packages /opt/venv /opt/venv
COPY --from=project /opt/project /opt/venv/lib/python3.11/site-packages
COPY --from=project /opt/project/bin /opt/venv/bin
COPY --from=project /srv/mlops-assets /srv/mlops-assets
WORKDIR /srv/mlops-assets
USER 1000
CMD ["mlops-assets", "--help"]
