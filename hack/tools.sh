#!/usr/bin/env bash
# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# tools.sh [TOOL...]: builds the pinned tools (golangci-lint, controller-gen, kustomize, helm) into the cache.
#
# Each tool has a module of its own, so that it is built from exactly the versions its authors tested, checked against
# go.sum. To move one: cd hack/tools/TOOL && go get -tool PACKAGE@VERSION. A tool is built again when its module files,
# this script or the Go release change. The binaries are $XDG_CACHE_HOME/maildomain-operator/bin/TOOL.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pinned

# ldflags TOOL VERSION: what upstream's release build sets. Without it a tool built from another module prints
# "(devel)" as its version, and controller-gen writes that into every CRD.
ldflags() {
  case $1 in
  golangci-lint) echo "-X main.version=${2#v}" ;;
  controller-gen) echo "-X sigs.k8s.io/controller-tools/pkg/version.version=$2" ;;
  kustomize) echo "-X sigs.k8s.io/kustomize/api/provenance.version=$2" ;;
  helm) # the release's Kubernetes version too: a chart that asks for a newer one than 1.20 would be refused
    minor=$(go_mod_version k8s.io/client-go | cut -d. -f2)
    echo "-X helm.sh/helm/v3/internal/version.version=$2"
    for package in pkg/chartutil pkg/lint/rules; do
      echo "-X helm.sh/helm/v3/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/$package.k8sVersionMinor=$minor"
    done
    ;;
  esac
}

# build TOOL: in a subshell, so that the lock ends with it.
build() (
  tool=$1
  dir=$ROOT/hack/tools/$tool
  [ -f "$dir/go.mod" ] || { say "tools.sh: no tool $tool; there is: $(cd "$ROOT/hack/tools" && echo *)"; exit 2; }
  stamp=$(stamp_of "$dir/go.mod" "$dir/go.sum" "${BASH_SOURCE[0]}")
  is_built "$tool" "$stamp" "$tool" && exit 0
  one_at_a_time "$tool"
  is_built "$tool" "$stamp" "$tool" && exit 0
  cd "$dir"
  package=$(sed -n 's/^tool //p' go.mod)
  module=$(go list -f '{{.Module.Path}}' "$package")
  version=$(go_mod_version "$module")
  next=$BIN/.$tool.$$
  trap 'rm -f "$next"' EXIT
  with_progress "$tool $version" go build -v -trimpath -ldflags "-s -w $(ldflags "$tool" "$version" | paste -sd' ')" -o "$next" "$package"
  mv "$next" "$BIN/$tool"
  mark_built "$tool" "$stamp"
)

tools=("$@")
[ ${#tools[@]} -gt 0 ] || tools=(controller-gen kustomize golangci-lint helm)
for tool in "${tools[@]}"; do build "$tool"; done
