#!/usr/bin/env bash
# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# apiserver.sh [COMPONENT...]: puts a real control plane into the cache: etcd, kube-apiserver, kube-controller-manager and
# kubectl when nothing is named (also there: kube-scheduler kubelet kube-proxy). The tests start them on loopback.
#
# They are downloaded where dl.k8s.io answers within seconds, else built from the Go modules that hack/k8s/go.mod pins:
# about three minutes once on two cores, from then on nothing until hack/k8s/go.mod or the Go release changes.
# They lie in $XDG_CACHE_HOME/maildomain-operator/bin; whoever has such binaries already sets KUBEBUILDER_ASSETS instead.
#
#   MAILDOMAIN_K8S_DOWNLOAD=URL   another mirror of https://dl.k8s.io/release; "no": never download
#   OPTIMISED=1                   compile with optimisation: twice the time once, the API server starts 1.5 s sooner
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pinned

components=("$@")
[ ${#components[@]} -gt 0 ] || components=(etcd kube-apiserver kube-controller-manager kubectl)

cd "$ROOT/hack/k8s"
stamp=$(stamp_of go.mod go.sum)${OPTIMISED:+-optimised}

# missing: the components that are not there in this version.
missing() {
  local component
  for component in "${components[@]}"; do
    is_built "k8s-$component" "$stamp" "$component" || echo "$component"
  done
}

mapfile -t todo < <(missing)
[ ${#todo[@]} -gt 0 ] || exit 0
one_at_a_time apiserver
mapfile -t todo < <(missing) # another process may have built them while this one waited
[ ${#todo[@]} -gt 0 ] || exit 0

version=$(go_mod_version k8s.io/kubernetes)
next=$BIN/.apiserver.$$
mkdir "$next"
trap 'rm -rf "$next"' EXIT

# download COMPONENT: the official binary, checked against the SHA-256 beside it. The small file is asked first, so that
# a machine without a way out loses two seconds, not minutes. etcd is not served there, and builds in half a minute.
download() {
  local base=${MAILDOMAIN_K8S_DOWNLOAD:-https://dl.k8s.io/release} sum url
  [ "$base" != no ] && [ "$1" != etcd ] && command -v curl >/dev/null || return 1
  url=$base/$version/bin/$(go env GOOS)/$(go env GOARCH)/$1
  sum=$(curl -fsSL --connect-timeout 2 --max-time 4 "$url.sha256" 2>/dev/null) || return 1
  [[ $sum =~ ^[0-9a-f]{64}$ ]] || return 1
  say "  downloading $1 $version"
  curl -fsSL --connect-timeout 2 --max-time 180 --speed-limit 500000 --speed-time 10 -o "$next/$1" "$url" || return 1
  if ! echo "$sum  $next/$1" | sha256sum --check --status; then
    say "$1 from $url is not the file its .sha256 describes: not used, built instead"
    rm -f "$next/$1"
    return 1
  fi
  chmod +x "$next/$1"
}

packages=() built=()
for component in "${todo[@]}"; do
  case $component in
  etcd) packages+=(go.etcd.io/etcd/server/v3) built+=(etcd) ;;
  kube-apiserver | kube-controller-manager | kube-scheduler | kubelet | kube-proxy | kubectl)
    download "$component" || { packages+=("k8s.io/kubernetes/cmd/$component") built+=("$component"); }
    ;;
  *)
    say "apiserver.sh: no component $component"
    exit 2
    ;;
  esac
done

if [ ${#packages[@]} -gt 0 ]; then
  # Without these the API server reports v0.0.0-master and clients refuse it.
  IFS=. read -r major minor _ <<<"${version#v}"
  ldflags="-s -w"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    ldflags+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
    ldflags+=" -X $package.gitTreeState=archive -X $package.buildDate=1970-01-01T00:00:00Z"
  done
  mode=(-gcflags 'all=-N -l')
  [ -z "${OPTIMISED:-}" ] || mode=()
  say "building ${built[*]} from Go modules (Kubernetes $version): about 3 minutes the first time, kept in $BIN"
  export GOGC=400 # fewer collections: a quarter less time for a gigabyte more memory
  with_progress "${built[*]}" go build -v -trimpath "${mode[@]}" -ldflags "$ldflags" -o "$next/" "${packages[@]}"
  [ ! -e "$next/server" ] || mv "$next/server" "$next/etcd" # named after the last element of its package path, …/server/v3
fi

for component in "${todo[@]}"; do
  mv "$next/$component" "$BIN/$component"
  mark_built "k8s-$component" "$stamp"
done
