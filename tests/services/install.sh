#!/usr/bin/env bash
# Builds the servers that tests run, once: influxd and fake-gcs-server, from Go modules, into MLOPS_ASSETS_SERVERS/bin.
# Needs go, cargo, gcc and pkg-config; five minutes from empty caches. PostgreSQL is the machine's own package.
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
  # libflux, in Rust, is built by a pkg-config of InfluxData's, which falls through to the real one
  GOBIN=$bin go install github.com/influxdata/pkg-config@v0.2.7
  # its lints deny warnings that newer compilers give, and RUSTFLAGS do not reach all of its crates
  printf '#!/bin/sh\ncase " $* " in *" --cap-lints"*) exec "$@";; esac\nexec "$@" --cap-lints warn\n' >"$bin/rustc-cap-lints"
  chmod +x "$bin/rustc-cap-lints"
  # `go install` refuses a module with a replace directive; here the same stands in a go.mod of our own, with go.sum
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cp "$here/influxd/go.mod" "$here/influxd/go.sum" "$work/"
  # its toolchain file pins a Rust that need not be installed; no tag `assets`: no web interface
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
