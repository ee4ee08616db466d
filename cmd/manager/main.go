// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager runs the operator: it makes DKIM keys, publishes DNS records, proves them, and says who signs.
package main

import (
	"fmt"
	"os"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx := ctrl.SetupSignalHandler()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

// logTo makes log the one that libraries use too.
func logTo(log logr.Logger) { ctrl.SetLogger(log) }
