// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !integration

package conformance

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(intercepted(m)) }
