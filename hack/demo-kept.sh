#!/usr/bin/env bash
# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# demo-kept.sh: has the demo go on (KEEP=1), plays with it by the commands that it prints, and ends it as Ctrl-C does.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
hack/apiserver.sh kubectl
export PATH=$PATH:$BIN
out=$(mktemp)
CGO_ENABLED=0 go build -trimpath -o bin/demo ./test/demo
KEEP=1 bin/demo >"$out" 2>&1 &
demo=$!
trap 'kill -TERM $demo 2>/dev/null || true; rm -f "$out"' EXIT
until grep -q 'tail -f' "$out"; do
  kill -0 $demo 2>/dev/null || { cat "$out"; exit 1; }
  sleep 0.2
done
play=$(sed -n 's/^ *\(export KUBECONFIG=.*\|kubectl .*\|curl .*\)$/\1/p' "$out")
bash -euxc "$play"
kill -INT $demo
wait $demo || { cat "$out"; exit 1; }
tail -n 1 "$out"
if pgrep -f "$(sed -n 's/^export KUBECONFIG=//p' <<<"$play" | xargs dirname)"; then
  say "The demo left the processes above behind."
  exit 1
fi
