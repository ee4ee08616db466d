// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rsasign

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

func generate(tb testing.TB, a dkim.Algorithm, bits int) dkim.KeyPair {
	tb.Helper()
	pair, err := dkim.Generate(tb.Context(), a, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return pair
}

func sign(tb testing.TB, pair dkim.KeyPair, message string) []byte {
	tb.Helper()
	digest := sha256.Sum256([]byte(message))
	signature, err := pair.Signer().Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

func TestTheEngineSignsWhatGoSigns(t *testing.T) {
	t.Log(Current())
	for _, bits := range []int{2048, 3072, 4096} {
		pair := generate(t, dkim.RSA, bits)
		held := Hold(pair)
		if held.PublicKeySHA256() != pair.PublicKeySHA256() || held.Bits() != bits || held.Record().String() != pair.Record().String() {
			t.Errorf("%s became %s", pair, held)
		}
		for _, message := range []string{"", "a", "b"} {
			if !bytes.Equal(sign(t, held, message), sign(t, pair, message)) {
				t.Errorf("%d bits: the two signatures of %q differ", bits, message)
			}
		}
	}
}

func TestADigestOfAnotherLengthIsRefused(t *testing.T) {
	signer := Hold(generate(t, dkim.RSA, 2048)).Signer()
	if _, err := signer.Sign(nil, make([]byte, 31), crypto.SHA256); err == nil {
		t.Error("31 octets were signed as SHA-256")
	}
}

func TestEd25519StaysWithGo(t *testing.T) {
	pair := generate(t, dkim.Ed25519, 0)
	held := Hold(pair)
	if _, err := held.PEM(); err != nil || !held.Equal(pair) {
		t.Errorf("%s became %s: %v", pair, held, err)
	}
	if zero := Hold(dkim.KeyPair{}); !zero.IsZero() {
		t.Errorf("no key became %s", zero)
	}
}

// wrongSigner signs something else.
type wrongSigner struct{ *rsa.PrivateKey }

func TestAnEngineThatDoesNotSignWellDoesNotGetTheKey(t *testing.T) {
	pair, other := generate(t, dkim.RSA, 2048), generate(t, dkim.RSA, 2048)
	var stranger *rsa.PrivateKey
	if _, err := other.HeldBy(func(s crypto.Signer) (crypto.Signer, error) {
		stranger, _ = s.(*rsa.PrivateKey)
		return s, nil
	}); err != nil {
		t.Fatal(err)
	}
	for name, hold := range map[string]func(*rsa.PrivateKey) (crypto.Signer, error){
		"refuses": func(*rsa.PrivateKey) (crypto.Signer, error) { return nil, errors.New("no") },
		"errs":    func(*rsa.PrivateKey) (crypto.Signer, error) { return wrongSigner{stranger}, nil },
	} {
		held := Engine{hold: hold}.Hold(pair)
		if !bytes.Equal(sign(t, held, "x"), sign(t, pair, "x")) {
			t.Errorf("the engine that %s got the key", name)
		}
	}
}

func TestAnEngineThatStandsInSaysWhy(t *testing.T) {
	text := goEngine(errors.New("libcrypto.so.3 cannot be loaded")).String()
	if !strings.HasPrefix(text, "Go 1.") || !strings.HasSuffix(text, ", since libcrypto.so.3 cannot be loaded") {
		t.Error(text)
	}
}

func BenchmarkSign(b *testing.B) {
	pair := generate(b, dkim.RSA, 2048)
	digest := sha256.Sum256([]byte("x"))
	for name, p := range map[string]dkim.KeyPair{"Go": pair, "engine": Hold(pair)} {
		b.Run(name, func(b *testing.B) {
			signer := p.Signer()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := signer.Sign(nil, digest[:], crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
