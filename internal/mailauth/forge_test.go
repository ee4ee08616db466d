// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// forgeKeys are one key of RSA and one of Ed25519 with their records.
var forgeKeys = sync.OnceValues(func() (map[string]crypto.Signer, map[string]string) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	keys := map[string]crypto.Signer{"rsa": rsaKey, "ed25519": ed}
	records := map[string]string{}
	for name, key := range keys {
		record, err := dkim.NewRecord(key.Public())
		if err != nil {
			panic(err)
		}
		records[name] = record.String()
	}
	return keys, records
})

// forge puts a signature above a message, in any way that RFC 6376 allows and in some that it does not. It takes whole
// texts at a time and shares no code with the verifier.
//
// tags are all but bh= and b=, which are added, unless they are there.
func forge(tb testing.TB, tags, message string) string {
	tb.Helper()
	tag := map[string]string{}
	for spec := range strings.SplitSeq(tags, ";") {
		name, value, _ := strings.Cut(spec, "=")
		tag[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	header, body, _ := strings.Cut(message, "\r\n\r\n")
	headerForm, bodyForm, _ := strings.Cut(tag["c"], "/")
	if bodyForm == "relaxed" {
		body = relaxedBody(body)
	} else {
		body = simpleBody(body)
	}
	if l, err := strconv.Atoi(tag["l"]); err == nil {
		body = body[:min(l, len(body))]
	}
	if _, given := tag["bh"]; !given {
		sum := sha256.Sum256([]byte(body))
		tags += "; bh=" + base64.StdEncoding.EncodeToString(sum[:])
	}
	if _, given := tag["b"]; given {
		return "DKIM-Signature: " + tags + "\r\n" + message
	}
	tags += "; b="

	fields := split(header)
	var input string
	for name := range strings.SplitSeq(tag["h"], ":") {
		for i, f := range slices.Backward(fields) {
			if strings.EqualFold(strings.TrimSpace(f.name), strings.TrimSpace(name)) {
				input += wholeField(headerForm, f) + "\r\n"
				fields = slices.Delete(fields, i, i+1)
				break
			}
		}
	}
	input += wholeField(headerForm, rawField{"DKIM-Signature", " " + tags})
	digest := sha256.Sum256([]byte(input))
	keys, _ := forgeKeys()
	key, hash := keys["rsa"], crypto.SHA256
	if strings.HasPrefix(tag["a"], "ed25519") {
		key, hash = keys["ed25519"], crypto.Hash(0)
	}
	signature, err := key.Sign(rand.Reader, digest[:], hash)
	if err != nil {
		tb.Fatal(err)
	}
	return "DKIM-Signature: " + tags + base64.StdEncoding.EncodeToString(signature) + "\r\n" + message
}

var blanks = regexp.MustCompile(`[ \t\r\n]+`)

func wholeField(form string, f rawField) string {
	if form != "relaxed" {
		return f.name + ":" + f.value
	}
	return strings.ToLower(strings.TrimSpace(f.name)) + ":" + strings.Trim(blanks.ReplaceAllString(f.value, " "), " ")
}

// simpleBody is RFC 6376 §3.4.3 on a whole body.
func simpleBody(body string) string {
	body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\n", "\r\n")
	for strings.HasSuffix(body, "\r\n") {
		body = strings.TrimSuffix(body, "\r\n")
	}
	return body + "\r\n"
}

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return string(sum[:])
}

func pkix(tb testing.TB, key *rsa.PublicKey) string {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func addrOf(tb testing.TB, s string) netip.Addr {
	tb.Helper()
	addr, err := netip.ParseAddr(s)
	if err != nil {
		tb.Fatal(err)
	}
	return addr
}
