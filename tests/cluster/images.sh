#!/usr/bin/env bash
# Builds the images of the test cluster as archives in MLOPS_ASSETS_CLUSTER/images: the platform's from its Dockerfiles,
# and small ones in place of a registry's (pause, Python, the servers). It uses buildah, without a daemon.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
home=${MLOPS_ASSETS_CLUSTER:-$HOME/.cache/mlops-assets/cluster}
servers=${MLOPS_ASSETS_SERVERS:-$HOME/.cache/mlops-assets/servers}
images=$home/images
mkdir -p "$images" "$home/buildah"
# in a separate mount namespace, so that no overlay mounts remain
[ -n "${OWN_MOUNTS-}" ] || exec env OWN_MOUNTS=1 unshare --mount --propagation private "$0" "$@"
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
buildah() { command buildah --root "$home/buildah" --runroot "$run" --storage-driver overlay "$@"; }

# configuration with which RUN reaches package registries; mounted, so that it is not part of an image
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
printf '[global]\ncert = %s\n' /etc/ssl/certs/ca-certificates.crt >"$run/pip.conf"
printf 'system-certs = true\n' >"$run/uv.toml"
mounts=(--volume "$certificates:/etc/ssl/certs/ca-certificates.crt:ro" --volume "$run/pip.conf:/etc/pip.conf:ro"
  --volume "$run/uv.toml:/etc/uv/uv.toml:ro")

archive() { # IMAGE FILE: write the image for the container runtime, if it is another one than before
  local id
  id=$(buildah images --quiet --no-trunc "$1")
  [ "$(cat "$images/$2.id" 2>/dev/null)" = "$id" ] && [ -s "$images/$2.tar" ] && return
  rm -f "$images/$2.tar"
  buildah push --quiet "$1" "docker-archive:$images/$2.tar:$1"
  echo "$id" >"$images/$2.id"
}

if ! buildah images --quiet docker.io/library/python:3.11-slim-bookworm >/dev/null 2>&1; then
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$run/python" >"$home/debootstrap.log"
  # as in the official image: `python`, and a working pip
  ln -sf python3 "$run/python/usr/bin/python"
  rm -rf "$run"/python/usr/lib/python3.11/EXTERNALLY-MANAGED "$run"/python/var/cache/apt/archives/*.deb "$run"/python/var/lib/apt/lists/*
  container=$(buildah from scratch)
  buildah copy --quiet "$container" "$run/python" /
  buildah config --cmd python3 "$container"
  buildah commit --quiet --rm "$container" docker.io/library/python:3.11-slim-bookworm
fi

if ! [ -s "$images/pause.tar" ]; then
  gcc -static -O2 -s -o "$run/pause" "$here/pause.c"
  container=$(buildah from scratch)
  buildah copy --quiet "$container" "$run/pause" /pause
  buildah config --entrypoint '["/pause"]' "$container"
  buildah commit --quiet --rm "$container" localhost/pause:1
  archive localhost/pause:1 pause
fi

for name in platform services; do
  buildah build --quiet --isolation chroot --network host --pull-never --layers "${mounts[@]}" \
    --file "$root/deploy/$name.Dockerfile" --tag "docker.io/mlops-assets/$name:test" "$root"
  archive "docker.io/mlops-assets/$name:test" "$name"
done

# the small servers for trials: those that tests/services/install.sh built, and the machine's PostgreSQL
mkdir "$run/servers"
cp "$servers/bin/influxd" "$servers/bin/fake-gcs-server" "$run/servers/"
buildah build --quiet --isolation chroot --network host --pull-never --layers "${mounts[@]}" \
  --file "$here/servers.Dockerfile" --tag docker.io/mlops-assets/servers:test "$run/servers"
archive docker.io/mlops-assets/servers:test servers
ls -l "$images"
