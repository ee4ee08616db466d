// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"net/http"
	"strings"
)

// storedTXT is the content of a TXT record as it is kept. Strings of up to 255 octets stay as they were written, escapes
// included; a longer one is cut. Text without quotation marks gets them when it has to be cut.
func storedTXT(content string) (string, *problem) {
	if len(content) > contentLimit {
		return "", problemf(http.StatusBadRequest, 9216, "Content for TXT record exceeds %d characters.", contentLimit)
	}
	if !strings.HasPrefix(content, `"`) {
		if len(content) <= 255 {
			return content, nil
		}
		content = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(content) + `"`
	}
	var out []string
	for rest := strings.TrimSpace(content); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		octets, after, ok := characterString(rest)
		if !ok {
			return "", problemf(http.StatusBadRequest, 9101, "Content for TXT record is invalid: quotation marks do not match.")
		}
		for len(octets) > 255 {
			out = append(out, `"`+strings.Join(octets[:255], "")+`"`)
			octets = octets[255:]
		}
		out = append(out, `"`+strings.Join(octets, "")+`"`)
		rest = after
	}
	return strings.Join(out, " "), nil
}

// characterString reads one quoted string: its octets, each as it was written, and what comes after it.
func characterString(s string) (octets []string, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return nil, "", false
	}
	for s = s[1:]; s != ""; {
		n := 1
		switch {
		case s[0] == '"':
			return octets, s[1:], true
		case s[0] == '\\' && len(s) >= 4 && s[1] >= '0' && s[1] <= '9':
			n = 4
		case s[0] == '\\' && len(s) >= 2:
			n = 2
		}
		octets = append(octets, s[:n])
		s = s[n:]
	}
	return nil, "", false
}
