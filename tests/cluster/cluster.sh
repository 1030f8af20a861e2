#!/usr/bin/env bash
# A one-node Kubernetes cluster on this machine, in a separate network namespace:
#   cluster.sh up | down | run COMMAND... | with COMMAND... | expose PORT ADDRESS
# `run` executes a command in the namespace, with KUBECONFIG set. `with` starts the cluster, executes a command and stops
# the cluster. `down` removes everything except the image store.
set -euo pipefail
home=${MLOPS_ASSETS_CLUSTER:-$HOME/.cache/mlops-assets/cluster}
bin=$home/bin
state=$home/run
name=mlops-assets # of the network namespace, the CNI network and the parent of all control groups
node=node1 node_ip=10.99.0.10 service_net=10.96.0.0/24 api_ip=10.96.0.1 pod_net=10.97.0.0/24
export LC_ALL=C CONTAINERD_ADDRESS=$state/containerd.sock KUBECONFIG=$state/admin.kubeconfig PATH=$bin:$PATH
inside=(nsenter "--net=/run/netns/$name")

started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; } # field 22: a reused id has another start
alive() { [ "$(started "$1")" = "$2" ] && ! grep -q '^State:.Z' "/proc/$1/status"; }

begin() { # NAME COMMAND...: a process of the cluster, recorded by id and start
  local label=$1
  shift
  setsid "${inside[@]}" "$@" >"$state/log/$label.log" 2>&1 </dev/null &
  local id=$!
  sleep 0.05
  echo "$id $label $(started $id)" >>"$state/pids"
}

end() { # NAME...: end processes of the cluster, gently first
  local label id recorded start patience
  for patience in TERM KILL; do
    for label in "$@"; do
      while read -r id recorded start; do
        if [ "$recorded" = "$label" ] && alive "$id" "$start"; then kill -s $patience "$id" || true; fi
      done <"$state/pids"
    done
    for _ in $(seq 50); do
      local left=0
      for label in "$@"; do
        while read -r id recorded start; do
          if [ "$recorded" = "$label" ] && alive "$id" "$start"; then left=1; fi
        done <"$state/pids"
      done
      [ $left = 0 ] && return
      sleep 0.1
    done
  done
}

certificate() { # NAME SUBJECT [SUBJECT_ALT_NAMES]
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  printf 'extendedKeyUsage=clientAuth,serverAuth\nkeyUsage=digitalSignature,keyEncipherment\n%s' "${3:+subjectAltName=$3}" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" -days 365 -extfile "$1.ext" 2>/dev/null
  cat >"$state/$1.kubeconfig" <<K
{apiVersion: v1, kind: Config, current-context: $name,
 clusters: [{name: $name, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $state/pki/ca.crt}}],
 users: [{name: $1, user: {client-certificate: $state/pki/$1.crt, client-key: $state/pki/$1.key}}],
 contexts: [{name: $name, context: {cluster: $name, user: $1}}]}
K
}

keys() {
  cd "$state/pki"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -subj /CN=ca -days 365 2>/dev/null
  openssl genrsa -out accounts.key 2048 2>/dev/null
  openssl rsa -in accounts.key -pubout -out accounts.pub 2>/dev/null
  local kubernetes=DNS:kubernetes.default.svc
  certificate apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,$kubernetes,$kubernetes.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$api_ip,IP:$node_ip"
  certificate kubelet "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$node_ip,IP:127.0.0.1"
  certificate admin /O=system:masters/CN=admin
  certificate apikubelet /O=system:masters/CN=apiserver-kubelet
  certificate controllers /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  certificate proxy /CN=system:kube-proxy
  certificate coredns /O=system:masters/CN=coredns
  touch done
}

network() {
  [ -e "/run/netns/$name" ] || ip netns add "$name"
  ip -n "$name" link set lo up
  # a node needs an address other than loopback
  ip -n "$name" link show node0 >/dev/null 2>&1 || ip -n "$name" link add node0 type veth peer name node1
  ip -n "$name" link set node1 up
  ip -n "$name" address replace "$node_ip/24" dev node0
  ip -n "$name" link set node0 up
  ip -n "$name" route replace default dev node0
  "${inside[@]}" sysctl -qw net.ipv4.ip_forward=1
  "${inside[@]}" sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
  cat >cni/10-bridge.conflist <<K
{"cniVersion": "0.4.0", "name": "$name", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$state/cni-data", "ranges": [[{"subnet": "$pod_net"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
K
}

runtime() {
  cat >containerd.toml <<K
version = 2
root = "$home/store"
state = "$state/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$CONTAINERD_ADDRESS"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$state/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
K
  begin containerd containerd --config "$state/containerd.toml"
  for _ in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
  local archive
  for archive in "$home"/images/*.tar; do # those that are new since they were imported into this store
    local mark=$home/store/${archive##*/}.imported
    cmp -s "${archive%.tar}.id" "$mark" && continue
    ctr -n k8s.io image import "$archive" >/dev/null
    cp "${archive%.tar}.id" "$mark"
  done
}

control_groups() { # a parent of our own for all pods, so that they can be removed by one name
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$name"
    return
  fi
  local controller file
  for controller in /sys/fs/cgroup/*/; do
    case $controller in */unified/) ;; *) mkdir -p "$controller$name" ;; esac
  done
  for file in cpus mems; do cat "/sys/fs/cgroup/cpuset/cpuset.$file" >"/sys/fs/cgroup/cpuset/$name/cpuset.$file"; done
}

control_plane() {
  begin etcd etcd --name e --data-dir "$state/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:23790 --advertise-client-urls http://127.0.0.1:23790 \
    --listen-peer-urls http://127.0.0.1:23800 --initial-advertise-peer-urls http://127.0.0.1:23800 --initial-cluster e=http://127.0.0.1:23800
  begin apiserver kube-apiserver --etcd-servers=http://127.0.0.1:23790 --service-cluster-ip-range=$service_net --secure-port=6443 \
    --advertise-address=$node_ip --cert-dir="$state/certificates" --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key \
    --client-ca-file=pki/ca.crt --service-account-key-file=pki/accounts.pub --service-account-signing-key-file=pki/accounts.key \
    --service-account-issuer=https://kubernetes.default.svc --api-audiences=https://kubernetes.default.svc \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --kubelet-certificate-authority=pki/ca.crt \
    --kubelet-client-certificate=pki/apikubelet.crt --kubelet-client-key=pki/apikubelet.key --kubelet-preferred-address-types=InternalIP
  for _ in $(seq 300); do "${inside[@]}" kubectl get --raw /readyz >/dev/null 2>&1 && break; sleep 0.2; done
  begin controllers kube-controller-manager --kubeconfig=controllers.kubeconfig --cert-dir="$state/certificates" \
    --service-account-private-key-file=pki/accounts.key --root-ca-file=pki/ca.crt --use-service-account-credentials \
    --cluster-signing-cert-file=pki/ca.crt --cluster-signing-key-file=pki/ca.key --leader-elect=false --bind-address=127.0.0.1 \
    --flex-volume-plugin-dir="$state/plugins"
  begin scheduler kube-scheduler --kubeconfig=scheduler.kubeconfig --cert-dir="$state/certificates" --leader-elect=false --bind-address=127.0.0.1
}

node() {
  echo "nameserver $node_ip" >resolv.conf
  cat >kubelet.yaml <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /$name
failCgroupV1: false
containerRuntimeEndpoint: unix://$CONTAINERD_ADDRESS
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $state/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $state/pki/kubelet.crt
tlsPrivateKeyFile: $state/pki/kubelet.key
failSwapOn: false
oomScoreAdj: 0
clusterDomain: cluster.local
clusterDNS: ["$node_ip"]
resolvConf: $state/resolv.conf
podLogsDir: $state/log/pods
volumePluginDir: $state/plugins
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: "1%", imagefs.available: "1%"}
enforceNodeAllocatable: [pods]
maxPods: 250
serializeImagePulls: false
syncFrequency: 5s
K
  begin kubelet kubelet --config=kubelet.yaml --kubeconfig=kubelet.kubeconfig --root-dir="$state/kubelet" --cert-dir="$state/certificates" \
    --node-ip=$node_ip --hostname-override=$node
  cat >proxy.yaml <<K
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
iptables: {minSyncPeriod: 100ms}
clusterCIDR: $pod_net
hostnameOverride: $node
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
clientConnection: {kubeconfig: $state/proxy.kubeconfig}
K
  begin proxy kube-proxy --config=proxy.yaml
  cat >Corefile <<K
cluster.local:53 in-addr.arpa:53 {
  bind $node_ip
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $state/coredns.kubeconfig
    ttl 0
  }
}
.:53 {
  bind $node_ip
  template ANY ANY {
    rcode NXDOMAIN
  }
}
K
  begin coredns coredns -conf "$state/Corefile"
  for _ in $(seq 300); do "${inside[@]}" kubectl wait --for=condition=Ready "node/$node" --timeout=1s >/dev/null 2>&1 && break; sleep 0.2; done
  for _ in $(seq 150); do "${inside[@]}" kubectl get serviceaccount default >/dev/null 2>&1 && break; sleep 0.2; done
}

up() {
  down
  mkdir -p "$state"/{pki,log,etcd,kubelet,cni,containerd,plugins,certificates} "$home/store"
  cd "$state"
  : >pids
  network
  [ -f pki/done ] || (keys)
  runtime
  control_groups
  control_plane
  node
  "${inside[@]}" kubectl get nodes
}

down() {
  [ -e "$state/pids" ] || return 0
  cd "$home"
  end expose proxy kubelet controllers scheduler coredns
  if ctr version >/dev/null 2>&1; then
    local task container
    for task in $(ctr -n k8s.io task ls -q); do ctr -n k8s.io task kill -a -s KILL "$task" >/dev/null 2>&1 || true; done
    for _ in 1 2 3 4 5; do
      [ -z "$(ctr -n k8s.io task ls -q)" ] && break
      for task in $(ctr -n k8s.io task ls -q); do ctr -n k8s.io task rm -f "$task" >/dev/null 2>&1 || true; done
      sleep 0.2
    done
    for container in $(ctr -n k8s.io container ls -q); do ctr -n k8s.io container rm "$container" >/dev/null 2>&1 || true; done
  fi
  end apiserver etcd containerd
  pkill -KILL -f -- "^/usr/bin/containerd-shim-runc-v2 .*-address $CONTAINERD_ADDRESS" || true
  local mount group
  for _ in 1 2 3; do
    awk -v under="$state/" 'index($2, under) == 1 {print $2}' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount"; done
  done
  [ ! -e "/run/netns/$name" ] || ip netns delete "$name"
  for group in /sys/fs/cgroup/*/"$name" "/sys/fs/cgroup/$name"; do
    [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
  # paths that are fixed in the kubelet and in CNI
  rm -f /var/lib/cni/results/"$name"-* /var/lib/kubelet/device-plugins/kubelet.sock
  find /var/log/containers -maxdepth 1 -lname "$state/*" -delete 2>/dev/null || true
  rmdir /var/lib/kubelet/device-plugins /var/lib/kubelet 2>/dev/null || true
  rm -rf "$state"
}

expose() { # PORT ADDRESS: PORT of this machine's loopback is ADDRESS (host:port) of the cluster, through a socket
  local socket=$state/expose.$1.sock
  rm -f "$socket"
  begin "expose" socat "UNIX-LISTEN:$socket,fork,mode=600" "TCP:$2"
  setsid socat "TCP-LISTEN:$1,bind=127.0.0.1,fork,reuseaddr" "UNIX-CONNECT:$socket" >/dev/null 2>&1 </dev/null &
  echo "$! expose $(started $!)" >>"$state/pids"
}

case ${1-} in
  up) up ;;
  down) down ;;
  expose) expose "$2" "$3" ;;
  run) shift && exec "${inside[@]}" "$@" ;;
  with)
    shift
    begun=$PWD
    trap down EXIT
    up
    cd "$begun"
    "${inside[@]}" "$@"
    ;;
  *) echo "cluster.sh up | down | run COMMAND... | with COMMAND... | expose PORT ADDRESS" >&2 && exit 2 ;;
esac
