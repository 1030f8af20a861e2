#!/usr/bin/env bash
# Builds the servers of the tests once, into MLOPS_ASSETS_SERVERS/bin: influxd and fake-gcs-server, from Go modules.
# Needs go, cargo, gcc and pkg-config; takes five minutes with empty caches. PostgreSQL is the machine's package.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=${MLOPS_ASSETS_SERVERS:-$HOME/.cache/mlops-assets/servers}
bin=$home/bin
influxdb=v2.7.12 fake_gcs=v1.56.1
mkdir -p "$bin"
export GOFLAGS="-buildvcs=false"

if ! "$bin/fake-gcs-server" -help >/dev/null 2>&1; then
  GOBIN=$bin go install "github.com/fsouza/fake-gcs-server@$fake_gcs"
fi

if ! "$bin/influxd" version >/dev/null 2>&1; then
  # libflux, in Rust, is built by InfluxData's pkg-config, which calls the real one for other packages
  GOBIN=$bin go install github.com/influxdata/pkg-config@v0.2.7
  # libflux denies warnings, and newer compilers have more of them; RUSTFLAGS does not apply to all of its crates
  printf '#!/bin/sh\ncase " $* " in *" --cap-lints"*) exec "$@";; esac\nexec "$@" --cap-lints warn\n' >"$bin/rustc-cap-lints"
  chmod +x "$bin/rustc-cap-lints"
  # `go install` refuses a module with a replace directive; this directory's go.mod and go.sum have the same directive
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cp "$here/influxd/go.mod" "$here/influxd/go.sum" "$work/"
  # the toolchain file pins a version of Rust that may not be installed; without the tag `assets` there is no web UI
  (cd "$work" && PATH="$bin:$PATH" RUSTUP_TOOLCHAIN=stable RUSTC_WRAPPER="$bin/rustc-cap-lints" GOTOOLCHAIN=local \
    GOFLAGS="-mod=readonly -buildvcs=false" go build -trimpath -tags sqlite_foreign_keys,sqlite_json \
    -ldflags "-s -w -X main.version=$influxdb -X main.commit=module -X main.date=2025-05-20T00:00:00Z" \
    -o "$bin/influxd" github.com/influxdata/influxdb/v2/cmd/influxd)
fi
"$bin/influxd" version

if ! command -v initdb >/dev/null && ! compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; then
  echo "PostgreSQL is needed: install the package postgresql of this machine's system" >&2
  exit 1
fi
