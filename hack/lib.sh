# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# lib.sh is sourced by the scripts beside it: where things are kept, how a stamp decides that nothing has to be built
# again, and how a build of minutes shows that it is alive.
# shellcheck shell=bash

# shellcheck disable=SC2034 # for the scripts that source this
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/maildomain-operator
BIN=$CACHE/bin
mkdir -p "$BIN" "$CACHE/stamps"

# pinned: for builds of other people's programs: the module files decide every version, nothing on the way changes them.
pinned() { export CGO_ENABLED=0 GOFLAGS="-mod=readonly -buildvcs=false" GOTOOLCHAIN=local GOWORK=off; }

# say MESSAGE: one line for the person who waits.
say() { printf '%s\n' "$*" >&2; }

# stamp_of FILE...: what a build depends on, as one word: its module files, how it is built, and the Go release.
stamp_of() { { go env GOVERSION GOOS GOARCH; cat "$@"; } | sha256sum | cut -c1-16; }

# is_built NAME STAMP BINARY...: true when every binary is there and was built from this stamp.
is_built() {
  local name=$1 stamp=$2 binary
  shift 2
  for binary in "$@"; do [ -x "$BIN/$binary" ] || return 1; done
  [ "$(cat "$CACHE/stamps/$name" 2>/dev/null)" = "$stamp" ]
}

# mark_built NAME STAMP: moved into place, so that a reader never sees half a stamp.
mark_built() { printf '%s\n' "$2" >"$CACHE/stamps/.$1.$$" && mv "$CACHE/stamps/.$1.$$" "$CACHE/stamps/$1"; }

# one_at_a_time NAME: holds the lock until the script ends. Two shells, or two work trees, share one cache.
one_at_a_time() {
  command -v flock >/dev/null || { say "flock is missing: apt-get install util-linux"; exit 1; }
  exec 9>"$CACHE/.$1.lock"
  flock -n 9 || { say "another process builds $1: waiting for it"; flock 9; }
}

# go_mod_version MODULE: the version that ./go.mod asks for.
go_mod_version() { go list -m -f '{{.Version}}' "$1"; }

# with_progress WHAT go build ARGS...: says every ten seconds how long the build has run and how much is compiled.
# `go build -v` names each package when it starts to compile it; the total comes from go list.
with_progress() {
  local what=$1 log start total pid rc=0
  shift
  log=$(mktemp) start=$SECONDS
  "$@" >"$log" 2>&1 9>&- &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null && sleep 1; done
    kill -0 "$pid" 2>/dev/null || break
    total=$(grep -cv '^go: ' "$log" || true)
    say "$(printf '  %s: %d s, %d packages compiled, %d modules fetched' "$what" $((SECONDS - start)) "$total" "$(grep -c '^go: downloading' "$log" || true)")"
  done
  wait "$pid" || rc=$?
  if [ "$rc" -ne 0 ]; then
    say "$what failed after $((SECONDS - start)) s:"
    grep -E '^(#|[^ ]+\.go:|go: [^d]|.*(error|cannot|missing|undefined|killed))' "$log" | tail -20 >&2 || tail -20 "$log" >&2
  else
    say "$(printf '%s: built in %d s' "$what" $((SECONDS - start)))"
  fi
  rm -f "$log"
  return "$rc"
}
