#!/usr/bin/env bash
# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# sendmail.sh: unpacks Debian's Sendmail into the cache, for the tests. As a package it conflicts with postfix, which the
# tests run too; nothing of it is installed, and none of its maintainer's scripts run. Does nothing when it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=hack/lib.sh
. ./lib.sh

target=$CACHE/sendmail
[ ! -x "$target/usr/libexec/sendmail/sendmail" ] || exit 0
one_at_a_time sendmail
[ ! -x "$target/usr/libexec/sendmail/sendmail" ] || exit 0

work=$(mktemp -d "$CACHE/.sendmail-XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
packages=(sendmail-bin sendmail-base sendmail-cf)
download() { (cd "$work" && apt-get -o APT::Sandbox::User=root download "${packages[@]}") >"$work/log" 2>&1; }
say "unpacking ${packages[*]}"
# The package lists of a new machine may be missing or old: only then are they fetched.
download || { apt-get -o DPkg::Lock::Timeout=300 update >"$work/update" 2>&1 && download; } || {
  cat "$work/log" >&2
  say "Sendmail cannot be downloaded: the tests need the Debian packages ${packages[*]}, unpacked in $target"
  exit 1
}
for package in "$work"/*.deb; do dpkg -x "$package" "$work/root"; done
# Debian's configuration macros name each other by the place where they would be installed.
grep -rlZ /usr/share/sendmail/cf "$work/root/usr/share/sendmail/cf" | xargs -0 sed -i "s|/usr/share/sendmail/cf|$target/usr/share/sendmail/cf|g"
chmod 755 "$work/root"
# Cyrus SASL takes the place of its files from nobody who runs with the rights of another.
chmod g-s "$work"/root/usr/libexec/sendmail/*
rm -rf "$target"
mv "$work/root" "$target"
