// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bind

import (
	"fmt"
	"net/netip"
	"strings"
)

// options are those of every server: nothing of the machine's own BIND is read
// or written, and no control channel is opened.
func options(extra string, listen ...netip.Addr) string {
	var addresses strings.Builder
	for _, a := range listen {
		fmt.Fprintf(&addresses, " %s;", a)
	}
	return fmt.Sprintf(`controls { };
options {
	directory "DIR";
	pid-file none;
	session-keyfile none;
	lock-file none;
	dnssec-validation no;
	empty-zones-enable no;
	listen-on port 53 {%s };
	listen-on-v6 { none; };
	query-source address %s;
	allow-query { any; };
	%s
};
`, addresses.String(), listen[0], extra)
}

// worldFiles are root, TLD and resolver: one process whose views differ by the address that is asked.
func (w *World) worldFiles(zones []Zone) map[string]string {
	root := soa(".") + `
.            NS  a.root.
a.root.      A   ` + Root.String() + `
` + TLD + `.     NS  a.nic.` + TLD + `.
a.nic.` + TLD + `. A ` + TLDServer.String() + "\n"
	var tld strings.Builder
	tld.WriteString(soa(TLD+".") + TLD + ". NS a.nic." + TLD + ".\na.nic." + TLD + ". A " + TLDServer.String() + "\n")
	for _, z := range zones {
		tld.WriteString(nameServers(z.Name))
	}
	hints := ". 3600 NS a.root.\na.root. 3600 A " + Root.String() + "\n"
	return map[string]string{
		"root.zone": root, "tld.zone": tld.String(), "hints": hints,
		// It knows the operator's key, as any server may: what it does not have are the zones.
		"named.conf": options("max-ncache-ttl 1;", Resolver, Root, TLDServer) + keyClause(OperatorKey, w.Secret) + fmt.Sprintf(`
view root { match-destinations { %s; }; recursion no; zone "." { type primary; file "root.zone"; }; };
view tld { match-destinations { %s; }; recursion no; zone "%s" { type primary; file "tld.zone"; }; };
view resolver { match-destinations { any; }; recursion yes; allow-recursion { any; }; zone "." { type hint; file "hints"; }; };
`, Root, TLDServer, TLD),
	}
}

// primaryFiles are the zones, which take updates.
func (w *World) primaryFiles(zones []Zone) map[string]string {
	// notify-delay 0: BIND gathers changes for five seconds otherwise before it tells the secondary.
	var conf strings.Builder
	conf.WriteString(options(fmt.Sprintf("recursion no; allow-transfer { any; }; notify-delay 0; notify explicit; also-notify { %s; }; notify-source %s;", Secondary, Primary), Primary))
	conf.WriteString(keyClause(OperatorKey, w.Secret) + keyClause(PersonKey, w.personSecret))
	files := map[string]string{
		"person.key": keyClause(PersonKey, w.personSecret),
	}
	for _, z := range zones {
		fmt.Fprintf(&conf, "zone %q { type primary; file \"%s.zone\"; update-policy { grant %s zonesub TXT MX; grant %s zonesub ANY; }; };\n",
			z.Name, z.Name, OperatorKey, PersonKey)
		files[z.Name+".zone"] = soa(z.Name+".") + nameServers(z.Name) + "$ORIGIN " + z.Name + ".\n" + strings.Join(z.Records, "\n") + "\n"
	}
	files["named.conf"] = conf.String()
	return files
}

func secondaryFiles(zones []Zone) map[string]string {
	var conf strings.Builder
	conf.WriteString(options(fmt.Sprintf("recursion no; allow-transfer { any; }; notify no; transfer-source %s;", Secondary), Secondary))
	for _, z := range zones {
		fmt.Fprintf(&conf, "zone %q { type secondary; primaries { %s; }; file \"%s.zone\"; };\n", z.Name, Primary, z.Name)
	}
	return map[string]string{"named.conf": conf.String()}
}

func keyClause(name, secret string) string {
	return fmt.Sprintf("key %q { algorithm hmac-sha256; secret %q; };\n", name, secret)
}

// soa begins a zone file. A secondary that missed a notification asks again after two seconds.
func soa(origin string) string {
	mname := "ns1." + strings.TrimPrefix(origin, ".")
	return fmt.Sprintf("$TTL 5\n%s 5 SOA %s hostmaster.%s 1 2 2 3600 %d\n", origin, mname, strings.TrimPrefix(origin, "."), MinimumTTL)
}

// nameServers are the NS records of a zone with their addresses: the same lines in the TLD, as a delegation, and in the zone itself.
func nameServers(zone string) string {
	return fmt.Sprintf("%[1]s. NS ns1.%[1]s.\n%[1]s. NS ns2.%[1]s.\nns1.%[1]s. A %[2]s\nns2.%[1]s. A %[3]s\n", zone, Primary, Secondary)
}
