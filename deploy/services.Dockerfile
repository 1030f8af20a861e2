# The services: a project's scoring service, and the forwarder; without Dagster, MLflow, H2O and DVC.
#   docker build --file deploy/services.Dockerfile --tag mlops-assets/services .
FROM python:3.11-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
RUN python3 -m venv /opt/venv && pip install --no-cache-dir uv==0.13.9 setuptools==84.2.1
# packages first: a change of code leaves their layer alone
COPY deploy/services.lock /tmp/
# the lock holds all that is needed, and leaves out what deploy/endpoint-overrides.txt does
RUN uv pip install --no-cache --no-deps --require-hashes --requirements /tmp/services.lock
COPY pyproject.toml README.md LICENSE definitions.py /srv/mlops-assets/
COPY mlops_assets /srv/mlops-assets/mlops_assets
COPY resources /srv/mlops-assets/resources
COPY sensors /srv/mlops-assets/sensors
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable /srv/mlops-assets \
    && uv pip uninstall uv pip setuptools && python3 -m compileall -q /srv/mlops-assets

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 1000 mlops && install -d -o mlops -g mlops /var/lib/mlops-assets
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/mlops-assets /srv/mlops-assets
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DO_NOT_TRACK=true MLOPS_ASSETS_HOME=/var/lib/mlops-assets
WORKDIR /srv/mlops-assets
USER 1000
CMD ["mlops-assets", "--help"]
