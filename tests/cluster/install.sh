#!/usr/bin/env bash
# Builds the programs of a one-node cluster once, into MLOPS_ASSETS_CLUSTER/bin: Kubernetes, etcd, CoreDNS and Helm, from
# Go modules. Needs go; takes 15 minutes with empty caches. The container runtime is the machine's package.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=${MLOPS_ASSETS_CLUSTER:-$HOME/.cache/mlops-assets/cluster}
bin=$home/bin
kubernetes=v1.34.4 etcd=v3.6.16 coredns=v1.14.7 helm=v3.19.5
packages=(containerd runc containernetworking-plugins iptables conntrack buildah debootstrap socat iproute2 gcc libc6-dev)
mkdir -p "$bin" "$home/images"
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false" GOBIN=$bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for command in containerd runc buildah debootstrap socat iptables conntrack ip gcc /usr/lib/cni/bridge; do
  if ! command -v "$command" >/dev/null; then
    [ "$(id -u)" = 0 ] || { echo "missing: $command; install ${packages[*]}" >&2; exit 1; }
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${packages[@]}"
    break
  fi
done

if ! "$bin/kubectl" version --client >/dev/null 2>&1 || ! [ -x "$bin/kubelet" ]; then
  # the module has replace directives, which `go install` refuses; this directory's go.mod has the same directives
  cp "$here"/kubernetes/* "$work/"
  version=k8s.io/component-base/version
  (cd "$work" && GOFLAGS="-mod=mod -buildvcs=false" go build -trimpath \
    -ldflags "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=34" -o "$bin/" \
    k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy,kubelet,kubectl})
fi
[ -x "$bin/helm" ] || go install -trimpath -ldflags "-s -w" "helm.sh/helm/v3/cmd/helm@$helm"
[ -x "$bin/coredns" ] || go install -trimpath -ldflags "-s -w" "github.com/coredns/coredns@$coredns"
if ! [ -x "$bin/etcd" ]; then
  mkdir "$work/etcd"
  printf 'module etcd\n\ngo 1.24.0\n\nrequire go.etcd.io/etcd/server/v3 %s\n' "$etcd" >"$work/etcd/go.mod"
  printf '//go:build tools\n\npackage tools\n\nimport _ "go.etcd.io/etcd/server/v3"\n' >"$work/etcd/tools.go"
  (cd "$work/etcd" && go mod tidy -e && go build -trimpath -ldflags "-s -w" -o "$bin/etcd" go.etcd.io/etcd/server/v3)
fi
ls "$bin"
