#!/usr/bin/env bash
# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# bench.sh [go test arguments]: runs every Go benchmark of the module, prints Go's own table, then one key=value line per
# benchmark and measure for whoever compares runs (-tags openssl: the milter's build with OpenSSL; the whole milter beside
# OpenDKIM: make bench-milter). Nothing is asserted here: a benchmark measures, a test asserts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Only packages with a benchmark, one after the other: two at once would measure each other.
mapfile -t packages < <(grep -rlE --include='*_test.go' '^func Benchmark' . | xargs -r dirname | sort -u)
if [ ${#packages[@]} -eq 0 ]; then
  echo "There is no benchmark in this tree."
  exit 0
fi
echo "machine: $(nproc) cores, $(go version | cut -d' ' -f3-), load $(cut -d' ' -f1 /proc/loadavg)"
go test -run '^$' -bench . -benchmem -p 1 -count "${BENCH_COUNT:-1}" "$@" "${packages[@]}" | tee "$log"

echo
echo "# package.benchmark.unit=value"
awk '
  $1 == "pkg:" { pkg = $2; sub(/.*maildomain-operator\//, "", pkg); gsub(/\//, ".", pkg) }
  /^Benchmark/ {
    name = $1; sub(/^Benchmark/, "", name); sub(/-[0-9]+$/, "", name)
    for (i = 3; i < NF; i += 2) { unit = $(i + 1); gsub(/\//, "_per_", unit); printf "%s.%s.%s=%s\n", pkg, name, unit, $i }
  }' "$log"
