// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keydir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// testPairs are made once: an RSA key costs a tenth of a second.
var testPairs = sync.OnceValues(func() ([]dkim.KeyPair, error) {
	rsa, err := dkim.Generate(context.Background(), dkim.RSA, 0)
	if err != nil {
		return nil, err
	}
	ed25519, err := dkim.Generate(context.Background(), dkim.Ed25519, 0)
	return []dkim.KeyPair{rsa, ed25519}, err
})

// pairs are an RSA key and an Ed25519 key.
func pairs(tb testing.TB) []dkim.KeyPair {
	tb.Helper()
	keys, err := testPairs()
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

func fsOf(datas ...map[string][]byte) fstest.MapFS {
	fsys := fstest.MapFS{}
	for _, data := range datas {
		for name, text := range data {
			fsys[name] = &fstest.MapFile{Data: text}
		}
	}
	return fsys
}

// compareKeys judges key pairs by their public half.
var compareKeys = cmp.Options{
	cmp.Comparer(func(a, b dkim.KeyPair) bool { return a.PublicKeySHA256() == b.PublicKeySHA256() }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func drawDomain(t *rapid.T, keys []dkim.KeyPair) Domain {
	label := rapid.StringMatching(`[a-z]([a-z0-9-]{0,6}[a-z0-9])?`)
	labels := rapid.SliceOfN(label.Filter(func(s string) bool { return len(s) < 4 || s[2:4] != "--" }), 2, 4).Draw(t, "labels")
	name, err := dnsrecord.ParseDomain(strings.Join(labels, "."))
	if err != nil {
		t.Skip(err)
	}
	d := Domain{Domain: name, Required: rapid.Bool().Draw(t, "required"), Subdomains: rapid.Bool().Draw(t, "subdomains")}
	if rapid.Bool().Draw(t, "senders given") {
		d.Senders = &Senders{
			Logins: rapid.SliceOf(rapid.SampledFrom([]string{"alice", "*@example.org", "bob@example.org", "ünï \"x\""})).Draw(t, "logins"),
			Networks: rapid.SliceOf(rapid.SampledFrom([]netip.Prefix{
				netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("127.0.0.1/32"),
			})).Draw(t, "networks"),
		}
		if len(d.Senders.Logins) == 0 {
			d.Senders.Logins = nil
		}
		if len(d.Senders.Networks) == 0 {
			d.Senders.Networks = nil
		}
	}
	selectors := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z][a-z0-9]{0,3}(\.[a-z][a-z0-9]{0,3})?`), 0, 4, rapid.ID).Draw(t, "selectors")
	for _, s := range selectors {
		d.Keys = append(d.Keys, Key{s, rapid.SampledFrom(keys).Draw(t, "key")})
	}
	return d
}

// The contract between operator and milter.
func TestWhatIsEncodedIsReadBack(t *testing.T) {
	keys := pairs(t)
	rapid.Check(t, func(t *rapid.T) {
		want := map[dnsrecord.Name]Domain{}
		var datas []map[string][]byte
		for range rapid.IntRange(1, 4).Draw(t, "domains") {
			d := drawDomain(t, keys)
			if _, taken := want[d.Domain]; taken {
				continue
			}
			data, err := Encode(d)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for name := range data {
				names = append(names, name)
				if owner, ok := DomainOf(name); !ok || owner != d.Domain {
					t.Fatalf("data key %q belongs to %q, not to %q", name, owner, d.Domain)
				}
			}
			slices.Sort(names)
			if diff := cmp.Diff(d.DataKeys(), names); diff != "" {
				t.Fatalf("DataKeys is not what Encode writes: %s", diff)
			}
			want[d.Domain] = d
			datas = append(datas, data)
		}
		got := Read(fsOf(datas...))
		if len(got.Problems) > 0 || got.Unreadable != nil {
			t.Fatalf("problems: %v %v", got.Problems, got.Unreadable)
		}
		if diff := cmp.Diff(want, got.Domains, compareKeys); diff != "" {
			t.Fatalf("read back (-want +got):\n%s", diff)
		}
	})
}

func TestTheOperatorReadsBackWhatSignersRead(t *testing.T) {
	keys := pairs(t)
	rapid.Check(t, func(t *rapid.T) {
		d := drawDomain(t, keys)
		data, err := Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data, d.Domain)
		mounted := Read(fsOf(data)).Domains[d.Domain]
		if err != nil || got.Required != mounted.Required || len(got.Keys) != len(mounted.Keys) {
			t.Fatalf("decoded %+v (%v), signers read %+v", got, err, mounted)
		}
	})
	if _, err := Decode(nil, "example.org"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a Secret without the domain gives %v", err)
	}
}

func TestTwoDomainsNeverShareADataKey(t *testing.T) {
	a := KeyName("example.org", "uk.s")
	b := KeyName("example.org.uk", "s")
	if a == b {
		t.Fatalf("both are %q", a)
	}
}

func TestAFaultStaysItsDomainsOwn(t *testing.T) {
	keys := pairs(t)
	good, err := Encode(Domain{Domain: "good.example", Required: true, Keys: []Key{{"s1", keys[0]}}})
	if err != nil {
		t.Fatal(err)
	}
	pem, err := keys[0].PEM()
	if err != nil {
		t.Fatal(err)
	}
	document := func(keys string) string {
		return fmt.Sprintf(`{"version":1,"domain":"bad.example","required":true,"keys":[%s]}`, keys)
	}
	tests := []struct{ name, document, want string }{
		{"an unknown version", `{"version":2,"keys":"of another shape"}`, "version 2 is unknown"},
		{"no version", `{"domain":"bad.example","required":true}`, "version is missing"},
		{"not JSON", `{"version":1,`, "not a JSON document"},
		{"text after the document", document("") + "{}", "not a JSON document"},
		{"a field that is not known and may restrict", `{"version":1,"domain":"bad.example","required":true,"keys":[],"recipients":["a"]}`, `unknown field "recipients"`},
		{"such a field of the senders", `{"version":1,"domain":"bad.example","required":true,"senders":{"logins":[],"hours":"9-17"}}`, `unknown field "hours"`},
		{"such a field of a key", document(`{"selector":"a","algorithm":"rsa-sha256","file":"k.pem","notBefore":"2027-01-01"}`), `unknown field "notBefore"`},
		{"another domain's name", `{"version":1,"domain":"good.example","required":true}`, "the file name says bad.example"},
		{"required left out", `{"version":1,"domain":"bad.example","keys":[]}`, "required is missing"},
		{"a selector that is none", document(`{"selector":"a b","algorithm":"rsa-sha256","file":"k.pem"}`), "selector"},
		{"a selector twice", document(`{"selector":"a","algorithm":"rsa-sha256","file":"k.pem"},{"selector":"a","algorithm":"rsa-sha256","file":"k.pem"}`), "listed twice"},
		{"an unknown algorithm", document(`{"selector":"a","algorithm":"rsa-sha1","file":"k.pem"}`), "algorithm \"rsa-sha1\" is unknown"},
		{"a key of another algorithm", document(`{"selector":"a","algorithm":"ed25519-sha256","file":"k.pem"}`), "holds a key for rsa-sha256"},
		{"a file that is missing", document(`{"selector":"a","algorithm":"rsa-sha256","file":"none.pem"}`), "is missing"},
		{"a key that does not parse", document(`{"selector":"a","algorithm":"rsa-sha256","file":"broken.pem"}`), "broken.pem"},
		{"a file outside of the tree", document(`{"selector":"a","algorithm":"rsa-sha256","file":"../k.pem"}`), "not the name of a file beside"},
		{"a file in a folder", document(`{"selector":"a","algorithm":"rsa-sha256","file":"sub/k.pem"}`), "not the name of a file beside"},
		{"a folder as a file", document(`{"selector":"a","algorithm":"rsa-sha256","file":"sub"}`), "not a regular file"},
		{"a file too large", document(`{"selector":"a","algorithm":"rsa-sha256","file":"large.pem"}`), "larger than"},
		{"too many keys", document(strings.Repeat(`{"selector":"a"},`, maxKeys) + `{"selector":"a"}`), "33 keys are more than the 32"},
		{"a network that is none", `{"version":1,"domain":"bad.example","required":true,"senders":{"networks":["192.0.2.0"]}}`, "network"},
		{"a login that admits all", `{"version":1,"domain":"bad.example","required":true,"senders":{"logins":["*"]}}`, "leave senders out"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys := fsOf(good, map[string][]byte{
				"bad.example.json": []byte(tt.document),
				"k.pem":            pem,
				"broken.pem":       []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
				"large.pem":        make([]byte, maxKeyFile+1),
				"sub/k.pem":        pem,
			})
			tree := Read(fsys)
			if _, ok := tree.Domains["good.example"]; !ok || len(tree.Domains) != 1 {
				t.Errorf("domains: %v", tree.Domains)
			}
			err := tree.Problems["bad.example"]
			if len(tree.Problems) != 1 || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("problems are %v, want one of bad.example with %q", tree.Problems, tt.want)
			}
		})
	}
}

func TestADocumentWithoutADomainsNameIsAProblemOfTheFile(t *testing.T) {
	for _, name := range []string{"Example.org.json", "localhost.json", "192.0.2.1.json", ".json.json"} {
		tree := Read(fsOf(map[string][]byte{name: []byte("{}")}))
		if strings.HasPrefix(name, ".") {
			if !tree.Empty() {
				t.Errorf("%s: hidden files are not ours: %v", name, tree)
			}
			continue
		}
		if tree.Problems[name] == nil || tree.Empty() {
			t.Errorf("%s: %v", name, tree)
		}
	}
}

func TestAnEmptyDirectoryIsEmptyAndAMissingOneUnreadable(t *testing.T) {
	if tree := Load(t.TempDir()); !tree.Empty() {
		t.Errorf("empty directory: %+v", tree)
	}
	if tree := Load(t.TempDir() + "/none"); tree.Unreadable == nil || tree.Empty() {
		t.Errorf("missing directory: %+v", tree)
	}
}

func TestEncodeRefusesWhatCannotBeRead(t *testing.T) {
	keys := pairs(t)
	var many []Key
	for i := range maxKeys + 1 {
		many = append(many, Key{fmt.Sprintf("s%d", i), keys[1]})
	}
	long := dnsrecord.Name(strings.Repeat(strings.Repeat("a", 60)+".", 4) + "example")
	tests := []struct {
		name string
		give Domain
		want string
	}{
		{"a key that is none", Domain{Domain: "example.org", Keys: []Key{{Selector: "s"}}}, "selector s has no key"},
		{"a selector twice", Domain{Domain: "example.org", Keys: []Key{{"s", keys[0]}, {"s", keys[1]}}}, "listed twice"},
		{"more keys than are read", Domain{Domain: "example.org", Keys: many}, "33 keys are more than the 32"},
		{"a domain that is none", Domain{Domain: "localhost"}, "localhost"},
		{"an empty login", Domain{Domain: "example.org", Senders: &Senders{Logins: []string{""}}}, "login is empty"},
		{"a network that is none", Domain{Domain: "example.org", Senders: &Senders{Networks: make([]netip.Prefix, 1)}}, "network is not valid"},
		{"names longer than a data key", Domain{Domain: long}, "longer than the 253 characters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := Encode(tt.give)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %d files and error %v, want %q", len(data), err, tt.want)
			}
		})
	}
}

func TestSendersAdmitByLoginOrNetwork(t *testing.T) {
	s := &Senders{Logins: []string{"alice", "*@example.org"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	tests := []struct {
		name, login, client string
		senders             *Senders
		want                bool
	}{
		{"a login of the list", "alice", "198.51.100.1", s, true},
		{"a login is compared as it is", "Alice", "198.51.100.1", s, false},
		{"a login by its tail", "bob@example.org", "198.51.100.1", s, true},
		{"a tail is after the last at sign", "bob@example.org@evil.example", "198.51.100.1", s, false},
		{"a tail alone is no login", "@example.org", "198.51.100.1", s, false},
		{"a client of the network", "", "192.0.2.7", s, true},
		{"a client of the network in its IPv6 form", "", "::ffff:192.0.2.7", s, true},
		{"neither", "mallory", "198.51.100.1", s, false},
		{"nothing known", "", "", s, false},
		{"no senders", "", "", nil, true},
		{"two empty lists", "alice", "192.0.2.7", &Senders{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, _ := netip.ParseAddr(tt.client)
			if got := tt.senders.Admits(tt.login, client); got != tt.want {
				t.Errorf("admits: %v", got)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	keys := pairs(f)
	data, err := Encode(Domain{
		Domain: "example.org", Required: true, Keys: []Key{{"s1", keys[1]}},
		Senders: &Senders{Logins: []string{"a"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data["example.org.json"], data["example.org.s1.pem"])
	f.Add([]byte(`{"version":1,"domain":"example.org","required":false,"keys":null}`), []byte(""))
	f.Add([]byte(`{"version":1,"domain":"example.org","required":true,"keys":[{"selector":"s1","algorithm":"ed25519-sha256","file":"example.org.json"}]}`), []byte("x"))
	good, err := Encode(Domain{Domain: "good.example", Keys: []Key{{"s", keys[1]}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, document, pem []byte) {
		tree := Read(fsOf(good, map[string][]byte{"example.org.json": document, "example.org.s1.pem": pem}))
		if _, ok := tree.Domains["good.example"]; !ok {
			t.Fatal("another domain's fault hid good.example")
		}
		d, read := tree.Domains["example.org"]
		if _, bad := tree.Problems["example.org"]; bad == read {
			t.Fatal("a domain is either read or a problem")
		}
		if !read {
			return
		}
		again, err := Encode(d)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if diff := cmp.Diff(d, Read(fsOf(again)).Domains["example.org"], compareKeys); diff != "" {
			t.Fatal(diff)
		}
	})
}
