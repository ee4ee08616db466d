// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package verifiers

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/emersion/go-msgauth/dkim"
)

// goMsgauth judges in this process.
func goMsgauth(ctx context.Context, dns netip.Addr, message []byte) ([]Verdict, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, netip.AddrPortFrom(dns, 53).String())
	}}
	found, err := dkim.VerifyWithOptions(bytes.NewReader(message), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return resolver.LookupTXT(ctx, name) },
	})
	if err != nil {
		return nil, err
	}
	return inOrder(message, found)
}

// inOrder puts what go-msgauth found beside the signatures: its verdicts are in their order, but say neither selector nor algorithm.
func inOrder(message []byte, found []*dkim.Verification) ([]Verdict, error) {
	fields, err := Signatures(message)
	if err != nil {
		return nil, err
	}
	if len(fields) != len(found) {
		return nil, fmt.Errorf("%d verdicts for %d signatures", len(found), len(fields))
	}
	for i, f := range found {
		fields[i].Result = Pass
		if f.Err != nil {
			fields[i].Result, fields[i].Detail = Fail, f.Err.Error()
		}
	}
	return fields, nil
}
