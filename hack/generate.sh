#!/usr/bin/env bash
# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# generate.sh: writes everything that is derived from the Go sources: deep copies, CRDs, the operator's RBAC rules, and
# the chart's copies of these, of the alerts and of the dashboard, and what the chart says of its values. Run through
# `make generate`, which has controller-gen built.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
gen=$BIN/controller-gen

"$gen" object:headerFile=hack/boilerplate.go.txt paths=./api/...
# maxDescLen stays at the default, so that kubectl explain shows every word.
"$gen" crd paths=./api/... output:crd:artifacts:config=config/crd/bases

# Two roles from the markers in controllers/: rules with namespace= are for the operator's own namespace (leases of
# claims and leader election), the others for wherever it watches.
"$gen" rbac:roleName=maildomain-operator paths=./controllers/... output:rbac:artifacts:config=config/rbac

# The chart's templates read these copies: a chart cannot reach files outside itself.
chart=charts/maildomain-operator
mkdir -p $chart/files/crds
rm -f $chart/files/crds/*.yaml
cp config/crd/bases/*.yaml $chart/files/crds/
cp config/rbac/role.yaml $chart/files/role.yaml
cp config/prometheus/rules.yaml $chart/files/rules.yaml
cp config/grafana/maildomains.json $chart/files/maildomains.json
go run ./hack/chartvalues $chart
