# The services: a project's scoring service, and the forwarder; without Dagster, MLflow, H2O and DVC.
#   docker build --file deploy/services.Dockerfile --tag mlops-assets/services .
FROM python:3.11-slim-bookworm AS packages
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
# uv is installed outside the environment, which is copied as a whole
RUN python3 -m venv --without-pip /opt/venv && python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==0.13.9
COPY deploy/services.lock /tmp/
# the lock has all that is needed, without the packages of deploy/endpoint-overrides.txt
RUN /opt/uv/bin/uv pip install --no-cache --no-deps --require-hashes --requirements /tmp/services.lock

# Our own code comes last, so that a change of it keeps the layer of the packages.
FROM packages AS project
RUN /opt/uv/bin/uv pip install --no-cache setuptools==84.2.1
COPY setup.py dg.toml pyproject.toml README.md LICENSE definitions.py /srv/mlops-assets/
COPY mlops_assets /srv/mlops-assets/mlops_assets
COPY resources /srv/mlops-assets/resources
COPY sensors /srv/mlops-assets/sensors
RUN /opt/uv/bin/uv pip install --no-cache --no-deps --no-build-isolation --target /opt/project --editable /srv/mlops-assets \
    && rm /opt/project/.lock && python3 -m compileall -q /srv/mlops-assets /opt/project

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 1000 mlops && install -d -o mlops -g mlops /var/lib/mlops-assets
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DO_NOT_TRACK=true MLOPS_ASSETS_HOME=/var/lib/mlops-assets
COPY --from=packages /opt/venv /opt/venv
COPY --from=project /opt/project /opt/venv/lib/python3.11/site-packages
COPY --from=project /opt/project/bin /opt/venv/bin
COPY --from=project /srv/mlops-assets /srv/mlops-assets
WORKDIR /srv/mlops-assets
USER 1000
CMD ["mlops-assets", "--help"]
