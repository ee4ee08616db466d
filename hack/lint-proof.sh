#!/usr/bin/env bash
# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# lint-proof.sh: shows each rule of .golangci.yml that is ours red. A rule with a misspelt path or package matches nothing
# and stays green for ever, so this lays out a module of the same name and layout in a temporary folder, plants one
# violation per file, runs golangci-lint once, and fails unless each is reported, and unless files marked clean are not.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

proof=$(mktemp -d)
trap 'rm -rf "$proof"' EXIT
cp "$ROOT"/{go.mod,go.sum,.golangci.yml} "$proof/"
m=$(sed -n 's/^module //p' "$ROOT/go.mod")
# What nobody may import is not in go.mod while nobody may or does: the planted files need it to compile.
(cd "$proof" && GOFLAGS=-mod=mod go get github.com/libdns/libdns@v1.1.1 2>/dev/null)
expected=$proof/expected
count=0

# put PATH [IMPORT...]: a file under the right header. Standard input is the body, the imports are blank.
put() {
  local path=$proof/$1 package import
  shift
  count=$((count + 1))
  mkdir -p "${path%/*}"
  package=$(basename "${path%/*}")
  {
    printf '// Copyright The maildomain-operator Authors.\n// SPDX-License-Identifier: Apache-2.0\n\n'
    printf '// Package %s is planted.\npackage %s\n' "$package" "$package"
    if [ $# -gt 0 ]; then
      printf '\nimport (\n'
      for import in "$@"; do printf '\t_ "%s" // Planted.\n' "${import//@/$m}"; done
      printf ')\n'
    fi
    cat
  } >"$path"
}
# red LINTER TEXT FILE [IMPORT...]: FILE must be reported by LINTER with TEXT. "@" in an import is this module.
red() {
  printf '%s\t%s\t%s\n' "$3" "$1" "$2" >>"$expected"
  put "${@:3}"
}
# forbidden IMPORT BY DIR: an import rule; the folder's own rule must name the package.
# Each in a folder of its own below planted/, so that one violation never makes an import cycle with another.
forbidden() { red depguard "${1//@/$m}" "planted/$count/$2/planted.go" "$1" </dev/null; }
# clean FILE [IMPORT...]: FILE must not be reported at all: a rule that forbids everything proves nothing.
clean() {
  printf '%s\tclean\t-\n' "$1" >>"$expected"
  put "$@"
}

# --- stubs, so that the imports below exist
for dir in api/v1alpha1 controllers/{maildomain,dkimkey,dnsprovider,internal/place} internal/{dnsrecord,dkim,spf,dmarc,dmarcreport,insight,dnsplan,rotation,desired,readiness,grant,keysecret,dnsprovider,dnscheck,claim,keydir,mailauth,milter,rsasign} test/gen cmd/manager; do
  put "$dir/doc.go" </dev/null
done

# --- import rules, one violation for each that docs/architecture.md draws
for dir in dnsrecord dkim spf dmarc dmarcreport insight; do
  forbidden net/http internal/$dir
  forbidden net internal/$dir
  forbidden os internal/$dir
  forbidden k8s.io/apimachinery/pkg/types internal/$dir
  forbidden @/api/v1alpha1 internal/$dir
  forbidden github.com/miekg/dns internal/$dir
done
forbidden @/internal/dkim internal/spf
forbidden @/internal/dkim internal/dnsrecord
forbidden @/internal/dkim internal/dnsplan
forbidden @/api/v1alpha1 internal/dnsplan
forbidden k8s.io/apimachinery/pkg/types internal/dnsplan
for dir in rotation desired readiness grant keysecret; do
  forbidden net/http internal/$dir
  forbidden k8s.io/client-go/rest internal/$dir
  forbidden sigs.k8s.io/controller-runtime internal/$dir
  forbidden @/internal/dnsprovider internal/$dir
  forbidden @/internal/keydir internal/$dir
done
for dir in internal/milter internal/mailauth internal/keydir cmd/milter; do
  forbidden k8s.io/apimachinery/pkg/types $dir
  forbidden sigs.k8s.io/controller-runtime $dir
  forbidden @/api/v1alpha1 $dir
done
forbidden @/internal/dnsprovider internal/milter
forbidden @/internal/milter internal/mailauth
forbidden @/internal/keydir internal/mailauth
forbidden net/http internal/mailauth
forbidden @/internal/mailauth internal/keydir
forbidden @/internal/mailauth internal/rsasign
for dir in internal/dnsprovider internal/dnscheck internal/claim controllers/maildomain controllers/dkimkey controllers/dnsprovider cmd/manager; do
  forbidden @/internal/milter $dir
  forbidden @/internal/mailauth $dir
  forbidden @/internal/rsasign $dir
done
for dir in internal/dnscheck internal/milter controllers/maildomain controllers/dnsprovider cmd/manager test/gen; do
  forbidden github.com/libdns/libdns $dir
done
for dir in internal/dnsprovider internal/dnscheck internal/rotation; do
  forbidden k8s.io/client-go/rest $dir
  forbidden sigs.k8s.io/controller-runtime/pkg/client $dir
  forbidden @/controllers/maildomain $dir
done
forbidden sigs.k8s.io/controller-runtime/pkg/client internal/claim
forbidden @/controllers/dkimkey internal/claim
forbidden k8s.io/client-go/rest api/v1alpha1
forbidden sigs.k8s.io/controller-runtime/pkg/client api/v1alpha1
forbidden @/internal/dnsrecord api/v1alpha1
for a in maildomain dkimkey dnsprovider; do
  for b in maildomain dkimkey dnsprovider; do [ $a = $b ] || forbidden @/controllers/$b controllers/$a; done
done
for b in maildomain dkimkey dnsprovider; do forbidden @/controllers/$b controllers/internal/place; done
forbidden @/internal/milter controllers/internal/place
forbidden github.com/libdns/libdns controllers/internal/place
for dir in internal/dnsprovider controllers/maildomain cmd/manager api/v1alpha1; do
  forbidden @/test/gen $dir
  forbidden testing $dir
done

clean planted/clean/internal/dnsrecord/clean.go net/netip golang.org/x/net/idna </dev/null
clean planted/clean/internal/dkim/clean.go crypto/rsa @/internal/dnsrecord </dev/null
clean planted/clean/internal/dkim/clean_test.go net/http testing </dev/null
clean planted/clean/internal/rotation/clean.go @/api/v1alpha1 @/internal/dkim k8s.io/apimachinery/pkg/types </dev/null
clean planted/clean/internal/dnsprovider/clean.go github.com/libdns/libdns @/internal/dnsplan net/http </dev/null
clean planted/clean/controllers/internal/place/clean.go @/internal/dnsprovider sigs.k8s.io/controller-runtime/pkg/client </dev/null
clean planted/clean/controllers/maildomain/clean.go @/internal/dnsprovider @/internal/rotation k8s.io/client-go/rest </dev/null
clean planted/clean/api/v1alpha1/clean.go k8s.io/apimachinery/pkg/types </dev/null
clean planted/clean/internal/claim/clean.go k8s.io/client-go/rest </dev/null
clean planted/clean/internal/milter/clean.go @/internal/mailauth @/internal/keydir </dev/null
clean planted/clean/test/gen/clean.go testing k8s.io/client-go/rest </dev/null

# --- the clock
for call in 'time.Now()' 'time.Since(time.Time{})' 'time.Until(time.Time{})'; do
  red forbidigo "${call%%(*}" "controllers/maildomain/clock$count.go" time <<<"
// Planted$count is planted.
func Planted$count() any { return $call }"
  sed -i 's/_ "time"/"time"/' "$proof/controllers/maildomain/clock$((count - 1)).go"
done
red forbidigo time.Sleep controllers/maildomain/sleep_test.go time <<<'
func planted() { time.Sleep(0) }

var _ = planted'
sed -i 's/_ "time"/"time"/' "$proof/controllers/maildomain/sleep_test.go"
clean cmd/manager/clock.go time <<<'
// Planted is planted.
func Planted() time.Time { return time.Now() }'
sed -i 's/_ "time"/"time"/' "$proof/cmd/manager/clock.go"
red forbidigo fmt.Println internal/milter/printing.go fmt <<<'
// Planted is planted.
func Planted() { fmt.Println() }'
sed -i 's/_ "fmt"/"fmt"/' "$proof/internal/milter/printing.go"

# --- size and shape
red funlen "is too long" internal/spf/long.go <<<"
// Planted is planted.
func Planted() (n int) {
$(for i in {1..62}; do printf '\tn += %d\n' "$i"; done)
	return n
}"
red gocognit "is high" internal/dmarc/deep.go <<<'
// Planted is planted.
func Planted(a []int) (n int) {
	for _, x := range a {
		if x > 0 {
			for range x {
				if n > x {
					for range n {
						if x > 1 && n > 1 {
							n++
						}
					}
				}
			}
		}
	}
	return n
}'
red revive file-length-limit internal/dkim/file.go <<<"
const (
$(for i in {1..410}; do printf '\tplanted%d = %d\n' "$i" "$i"; done)
)"
red gochecknoinits "init" internal/keydir/inits.go <<<'
func init() {}'
red exhaustive "missing cases" internal/rotation/switches.go <<<'
// Phase is planted.
type Phase string

// Planted.
const (
	One Phase = "One"
	Two Phase = "Two"
)

// Planted is planted.
func Planted(p Phase) bool {
	switch p {
	case One:
		return true
	}
	return false
}'
red errorlint "%w" internal/dnscheck/wrap.go fmt <<<'
// Planted is planted.
func Planted(err error) error { return fmt.Errorf("planted: %v", err) }'
sed -i 's/_ "fmt"/"fmt"/' "$proof/internal/dnscheck/wrap.go"
red godot "period" internal/readiness/dots.go <<<'
// Planted is planted
const Planted = 1'
red nolintlint "explanation" internal/desired/nolint.go <<<'
// Planted is planted.
const Planted = 1 //nolint:errcheck'
red gofumpt "not properly formatted" internal/grant/format.go <<<'
// Planted is planted.
func Planted() {

	_ = 1
}'
red importas metav1 controllers/dkimkey/alias.go <<<'

import "k8s.io/apimachinery/pkg/apis/meta/v1"

// Planted is planted.
var Planted v1.Time'
red goheader "" internal/dnsplan/header.go </dev/null
sed -i '1s/Authors/People/' "$proof/internal/dnsplan/header.go"

cd "$proof"
found=$proof/found
# Its own cache folder: a run in a temporary folder must not fill the one that `make lint` uses.
GOLANGCI_LINT_CACHE=$CACHE/lint-proof "$BIN/golangci-lint" run --show-stats=false --output.text.path "$found" --output.text.print-issued-lines=false \
  --issues-exit-code 0 >/dev/null 2>"$proof/errors" || { cat "$proof/errors" "$found" >&2; exit 1; }
# Some findings have a second line: one line each.
awk '/^[^ ]+\.go:[0-9]+:/ { if (line != "") print line; line = $0; next } { line = line " " $0 } END { print line }' "$found" >"$found.1" && mv "$found.1" "$found"
if grep -q '(typecheck)' "$found"; then
  grep '(typecheck)' "$found" >&2
  say "lint-proof: a planted file does not compile, so nothing is proved"
  exit 1
fi
bad=0
while IFS=$'\t' read -r file linter text; do
  if [ "$linter" = clean ]; then
    if hits=$(grep -F "$file:" "$found" | grep -vE '\((gci|gofumpt)\)$'); then
      say "reported, but must not be:"$'\n'"$hits"
      bad=1
    fi
  elif ! grep -F "$file:" "$found" | grep -F "($linter)" | grep -qF -- "$text"; then
    say "NOT reported by $linter: $file ($text)"
    bad=1
  fi
done <"$expected"
[ "$bad" -eq 0 ] || exit 1
say "lint-proof: $(grep -vc $'\tclean\t' "$expected") planted violations reported, $(grep -c $'\tclean\t' "$expected") clean files left alone"
