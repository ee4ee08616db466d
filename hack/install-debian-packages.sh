#!/usr/bin/env bash
# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# install-debian-packages.sh [PACKAGE...]: installs what is missing of the real parts that `make test-integration` needs,
# or of the packages named. Does nothing, as any user, when all are there. Needs root or sudo otherwise.
set -euo pipefail

packages=("$@")
if [ ${#packages[@]} -eq 0 ]; then
  packages=(
    bind9 bind9-dnsutils                    # authoritative servers with TSIG updates; dig, nsupdate
    knot pdns-server pdns-backend-sqlite3 sqlite3 # two more kinds of them, one with an HTTP API
    postfix swaks                           # the MTA in front of the milter, and a client for it
    python3-dkim python3-dnspython python3-nacl libmail-dkim-perl opendkim # verifiers that are not ours
    prometheus                              # promtool, which tries the alerts
    openssl gcc libc6-dev                   # libcrypto for the milter that signs with it, and what links it
    m4 libwrap0 libsasl2-modules            # for Sendmail, which hack/sendmail.sh unpacks; logins
    iproute2                                # network namespaces: servers that must answer on port 53
  )
fi

command -v dpkg-query >/dev/null || {
  echo "This is not a Debian system. The integration tests need: ${packages[*]}" >&2
  exit 1
}
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "Not root, and no sudo. As root: apt-get install ${missing[*]}" >&2
    exit 1
  }
  as_root=(sudo)
fi

# No package may start its daemon: the tests run their own on loopback, from folders of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod +x "$policy"
  # shellcheck disable=SC2064 # expanded now on purpose
  trap "${as_root[*]} rm -f $policy" EXIT
fi
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "${missing[@]}"
}
log=$(mktemp)
echo "installing ${missing[*]}" >&2
# The package lists of a new machine may be missing or old: only then are they fetched.
install >"$log" 2>&1 </dev/null || {
  "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 update >>"$log" 2>&1
  install >"$log" 2>&1 </dev/null
} || {
  cat "$log" >&2
  exit 1
}
rm -f "$log"
