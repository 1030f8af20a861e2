# The platform: Dagster's webserver, daemon, code location and runs, and the MLflow server.
#   docker build --file deploy/platform.Dockerfile --tag mlops-assets/platform .
FROM python:3.11-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
RUN python3 -m venv /opt/venv && pip install --no-cache-dir uv==0.13.9
# packages first: a change of code leaves their layer alone
COPY deploy/platform.lock /tmp/
RUN uv pip install --no-cache --require-hashes --requirements /tmp/platform.lock && uv pip uninstall uv
COPY . /srv/mlops-assets
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable /srv/mlops-assets \
    && python -m compileall -q /srv/mlops-assets

FROM python:3.11-slim-bookworm
# DVC keeps its files in a Git repository.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 mlops && install -d -o mlops -g mlops /var/lib/mlops-assets
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/mlops-assets /srv/mlops-assets
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DO_NOT_TRACK=true DVC_NO_ANALYTICS=1 \
    MLOPS_ASSETS_HOME=/var/lib/mlops-assets
WORKDIR /srv/mlops-assets
USER 1000
CMD ["mlops-assets", "--help"]
