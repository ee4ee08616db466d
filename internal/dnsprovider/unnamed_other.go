// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package dnsprovider

import (
	"errors"
	"os"
)

// unnamedFile: the operator runs on Linux; elsewhere it is developed.
func unnamedFile([]byte) (*os.File, error) { return nil, errors.ErrUnsupported }
