// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkim_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord/recordtest"
)

func TestPrivateKeysReadAsTheirFixturesSay(t *testing.T) {
	for _, c := range recordtest.Cases(t, "testdata/key/*.pem") {
		t.Run(c.Name, func(t *testing.T) {
			pair, err := dkim.ParsePEM([]byte(c.Text))
			c.Check(t, pair.Record().String(), err)
			if err != nil {
				if !pair.IsZero() {
					t.Fatal("a key came with the error")
				}
				return
			}
			if got := fmt.Sprintf("%s %d", pair.Algorithm(), pair.Bits()); got != c.Fields["kind"] {
				t.Errorf("is %s, want %s", got, c.Fields["kind"])
			}
			checkKeyPair(t, pair)
		})
	}
}

// checkKeyPair holds a key pair to what every key pair must do.
func checkKeyPair(t *testing.T, pair dkim.KeyPair) {
	t.Helper()
	text, err := pair.PEM()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(text, []byte("-----BEGIN PRIVATE KEY-----\n")) {
		t.Error("is not written as PKCS#8")
	}
	again, err := dkim.ParsePEM(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pair, again); diff != "" {
		t.Errorf("reads back otherwise:\n%s", diff)
	}
	if record := pair.Record(); record.PublicKeySHA256() != pair.PublicKeySHA256() || len(pair.PublicKeySHA256()) != 64 {
		t.Errorf("record has the hash %s, key pair %s", record.PublicKeySHA256(), pair.PublicKeySHA256())
	}
	public, err := pair.Record().PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if !signs(t, pair.Signer(), public) {
		t.Error("what it signs does not verify with its record")
	}
}

func signs(t *testing.T, signer crypto.Signer, public crypto.PublicKey) bool {
	t.Helper()
	digest := sha256.Sum256([]byte("message"))
	hash := crypto.SHA256
	if _, isEd25519 := public.(ed25519.PublicKey); isEd25519 {
		hash = 0 // RFC 8463 §3: the digest is signed with PureEdDSA
	}
	signature, err := signer.Sign(rand.Reader, digest[:], hash)
	if err != nil {
		t.Fatal(err)
	}
	switch public := public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil && public.Equal(signer.Public())
	case ed25519.PublicKey:
		return ed25519.Verify(public, digest[:], signature) && public.Equal(signer.Public())
	default:
		return false
	}
}

func TestGeneratedKeysHaveTheLengthThatWasAskedFor(t *testing.T) {
	for _, c := range []struct {
		algorithm  dkim.Algorithm
		bits, want int
	}{{dkim.RSA, 0, 2048}, {dkim.RSA, 2048, 2048}, {dkim.RSA, 3072, 3072}, {dkim.Ed25519, 0, 256}} {
		pair, err := dkim.Generate(t.Context(), c.algorithm, c.bits)
		if err != nil {
			t.Fatal(err)
		}
		if pair.Algorithm() != c.algorithm || pair.Bits() != c.want || pair.IsZero() {
			t.Errorf("got %s of %d bits, want %s of %d", pair.Algorithm(), pair.Bits(), c.algorithm, c.want)
		}
		checkKeyPair(t, pair)
	}
}

func TestARecordOfRSA2048HasNoHashesAnd410Octets(t *testing.T) {
	pair, err := dkim.Generate(t.Context(), dkim.RSA, 2048)
	if err != nil {
		t.Fatal(err)
	}
	value := pair.Record().String()
	if len(value) != 410 || !strings.HasPrefix(value, "v=DKIM1; k=rsa; p=MII") || strings.Contains(value, "h=") {
		t.Errorf("%d octets: %s", len(value), value)
	}
}

func TestGenerateRefusesWhatNobodyShouldHave(t *testing.T) {
	for _, c := range []struct {
		algorithm dkim.Algorithm
		bits      int
	}{{dkim.RSA, 1024}, {dkim.RSA, 2049}, {dkim.RSA, 8192}, {dkim.RSA, -1}, {dkim.Ed25519, 2048}, {"DSA", 0}, {"", 0}} {
		if pair, err := dkim.Generate(t.Context(), c.algorithm, c.bits); err == nil || !pair.IsZero() {
			t.Errorf("%s %d: got %s, %v", c.algorithm, c.bits, pair, err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if pair, err := dkim.Generate(cancelled, dkim.Ed25519, 0); !errors.Is(err, context.Canceled) || !pair.IsZero() {
		t.Errorf("cancelled: got %s, %v", pair, err)
	}
}

func TestTheNamesOfAlgorithmsAreThoseOfTheRFCs(t *testing.T) {
	for algorithm, want := range map[dkim.Algorithm][2]string{
		dkim.RSA: {"rsa", "rsa-sha256"}, dkim.Ed25519: {"ed25519", "ed25519-sha256"}, "DSA": {"", ""},
	} {
		if got := [2]string{algorithm.KeyType(), algorithm.SignatureName()}; got != want {
			t.Errorf("%s: got %v, want %v", algorithm, got, want)
		}
	}
}

func TestTheZeroKeyPairHasNoKey(t *testing.T) {
	var zero dkim.KeyPair
	if _, err := zero.PEM(); err == nil {
		t.Error("has a PEM form")
	}
	if !zero.IsZero() || zero.Signer() != nil || zero.Bits() != 0 || zero.PublicKeySHA256() != "" || zero.String() != "no DKIM key" ||
		len(zero.Record().Key) != 0 {
		t.Error("has something of a key")
	}
}

func TestTextThatIsNoKeyIsExplained(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "private key: is empty",
		"\n":                               "private key: is empty",
		"garbage":                          `private key: is not PEM: it must begin with a line "-----BEGIN PRIVATE KEY-----"`,
		strings.Repeat("x", dkim.MaxPEM+1): "private key: is longer than 32768 octets: this is no DKIM key",
	} {
		if _, err := dkim.ParsePEM([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%.20q:\n got  %v\n want %s", text, err, want)
		}
	}
}

// A key pair is printed, encoded and logged in every way that there is, alone and inside others. The secret is looked
// for as text, as octets in decimal and in hexadecimal.
func TestNoWayOfPrintingAKeyPairShowsItsPrivateKey(t *testing.T) {
	type exported struct{ Pair dkim.KeyPair }
	type hidden struct{ pair dkim.KeyPair }
	for _, c := range recordtest.Cases(t, "testdata/key/*.pem") {
		if c.Fields["error"] != "" {
			continue
		}
		pair, err := dkim.ParsePEM([]byte(c.Text))
		if err != nil {
			t.Fatal(err)
		}
		secrets := secretsOf(t, pair)
		held, err := pair.HeldBy(func(s crypto.Signer) (crypto.Signer, error) { return s, nil })
		if err != nil {
			t.Fatal(err)
		}
		holders := map[string]any{
			"itself": pair, "a pointer": &pair, "a field": exported{pair}, "a hidden field": hidden{pair}, "a pointer to a hidden field": &hidden{pair},
			"a slice": []dkim.KeyPair{pair}, "a map": map[string]any{"key": pair}, "its signer": pair.Signer(), "held elsewhere": held, "the signer of one held elsewhere": held.Signer(), "a hidden signer": struct{ s crypto.Signer }{pair.Signer()},
		}
		for name, holder := range holders {
			for _, shown := range everyForm(holder) {
				for _, secret := range secrets {
					if strings.Contains(strings.ToLower(shown), strings.ToLower(secret)) {
						t.Errorf("%s: %s shows the private key", c.Name, name)
					}
				}
			}
		}
	}
}

func everyForm(v any) []string {
	var shown []string
	for verb := range strings.SplitSeq("v +v #v s q x X d T p c U b o O t e g", " ") {
		shown = append(shown, fmt.Sprintf("%"+verb, v))
	}
	if text, err := json.Marshal(v); err == nil {
		shown = append(shown, string(text))
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("key", "value", v)
	slog.New(slog.NewTextHandler(&log, nil)).Info("key", "value", v, slog.Group("group", "value", v))
	return append(shown, log.String(), fmt.Errorf("key: %v", v).Error())
}

// secretsOf returns pieces of the private numbers in the forms in which they could be shown.
func secretsOf(t *testing.T, pair dkim.KeyPair) []string {
	t.Helper()
	text, err := pair.PEM()
	if err != nil {
		t.Fatal(err)
	}
	private := privateOctets(t, text)
	lines := strings.Split(string(text), "\n")
	secrets := []string{"PRIVATE KEY", lines[len(lines)-3][:16]}
	for _, octets := range private {
		secrets = append(secrets, fmt.Sprintf("%x", octets[:8]), strings.Trim(fmt.Sprintf("%d", octets[:8]), "[]"), strings.Trim(fmt.Sprintf("%#v", octets[:4]), "[]byte{}"))
	}
	return secrets
}

func FuzzParsePEM(f *testing.F) {
	for _, c := range recordtest.Cases(f, "testdata/key/*.pem") {
		f.Add([]byte(c.Text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pair, err := dkim.ParsePEM(data)
		if (err == nil) == pair.IsZero() {
			t.Fatalf("key %s, error %v", pair, err)
		}
		if err == nil {
			checkKeyPair(t, pair)
		}
	})
}

// A secret put in the wrong field must not come back in a status or a log.
func FuzzErrorsNeverRepeatTheirInput(f *testing.F) {
	f.Add("hunter2-hunter2-hunter2")
	f.Fuzz(func(t *testing.T, secret string) {
		if len(secret) < 12 {
			return
		}
		for _, form := range []string{
			"%s",
			"-----BEGIN %s-----\nAAAA\n-----END %[1]s-----\n",
			"-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n",
			"-----BEGIN PRIVATE KEY-----\nX: %s\n\nAAAA\n-----END PRIVATE KEY-----\n",
		} {
			_, err := dkim.ParsePEM(fmt.Appendf(nil, form, secret))
			if err == nil {
				continue
			}
			for i := 0; i+12 <= len(secret); i++ {
				if strings.Contains(err.Error(), secret[i:i+12]) && !isLabel(secret[i:i+12]) {
					t.Fatalf("%q is repeated in %q", secret[i:i+12], err)
				}
			}
		}
	})
}

func privateOctets(t *testing.T, text []byte) [][]byte {
	t.Helper()
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return [][]byte{key.D.Bytes(), key.Primes[0].Bytes(), key.Primes[1].Bytes()}
	case ed25519.PrivateKey:
		return [][]byte{key.Seed()}
	default:
		t.Fatalf("key of type %T", key)
		return nil
	}
}

// isLabel says whether a text is a piece of what our own messages quote.
func isLabel(s string) bool {
	const known = "PRIVATE KEY-----BEGIN RSA "
	return strings.Contains(known, s)
}
