#!/usr/bin/env bash
# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# image.sh: builds the images with whatever container builder this machine has. VERSION and IMAGE as in the Makefile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=${VERSION:-unknown} image=${IMAGE:-ghcr.io/maildomain-operator}

# A docker client without its engine is common: only an engine that answers counts.
if docker info >/dev/null 2>&1; then
  builder=(docker build)
elif command -v podman >/dev/null; then
  builder=(podman build)
elif command -v buildah >/dev/null; then
  builder=(buildah build)
else
  echo "make image needs a container builder, and none answers here: start Docker's engine, or install one that needs" >&2
  echo "no daemon (Debian: apt-get install buildah). The binaries themselves: make build." >&2
  exit 1
fi
declare -A names=(
  [manager]=$image/maildomain-operator:$version
  [milter]=$image/maildomain-milter:$version                   # RSA by OpenSSL
  [milter-portable]=$image/maildomain-milter:$version-portable # static, RSA by Go
)
for target in manager milter milter-portable; do
  name=${names[$target]}
  echo "building $name with ${builder[0]}"
  "${builder[@]}" --target $target --build-arg VERSION="$version" -t "$name" .
done
