// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllerstest

import (
	"context"

	"github.com/maildomain-operator/maildomain-operator/controllers/internal/keymaker"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
)

// Maker is the real maker of key pairs, with a way of its own to make them. Nothing is made before run, nor after its
// context has ended; told hears whom to wake.
func Maker(generate func(context.Context, dkim.Algorithm, int) (dkim.KeyPair, error), told func(context.Context, dnsprovider.Owner)) (keys KeyMaker, run func(context.Context) error) {
	m := keymaker.New(keymaker.Options{Workers: 2, Generate: generate, Tell: told})
	return m, m.Start
}
