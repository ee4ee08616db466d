// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package mta

import (
	"bytes"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// signAsPartner signs as somebody on the Internet, well or in one of the ways that go wrong.
func (w *world) signAsPartner(t *testing.T, kind string, message []byte) []byte {
	t.Helper()
	options := &dkim.SignOptions{
		Domain: partner, Selector: "good", Signer: w.rsa.Signer(),
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	}
	switch kind {
	case "good", "bad":
	case "revoked":
		options.Selector = "gone" // its record has an empty p=
	case "missing":
		options.Selector = "never" // has no record
	case "expired":
		options.Expiration = time.Now().Add(-time.Hour)
	default:
		t.Fatalf("nobody signs %q", kind)
	}
	var out bytes.Buffer
	if err := dkim.Sign(&out, bytes.NewReader(message), options); err != nil {
		t.Fatal(err)
	}
	if kind == "bad" {
		return append(out.Bytes(), "One more line.\r\n"...)
	}
	return out.Bytes()
}
