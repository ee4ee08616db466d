#!/usr/bin/env bash
# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# check-generate.sh: generates into a copy of the work tree and compares, so that it works on uncommitted changes, says
# which file is stale, and leaves the tree as it is.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
paths=(api config charts)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r api config charts controllers internal hack go.mod go.sum "$copy/"
"$copy/hack/generate.sh"
stale=0
for path in "${paths[@]}"; do diff -ru "$path" "$copy/$path" || stale=1; done
if [ "$stale" -ne 0 ]; then
  say "Generated files are stale (- is here, + is what belongs here): run 'make generate' and commit."
  exit 1
fi
