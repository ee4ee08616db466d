// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	requestTimeout = 30 * time.Second
	// maxAnswer bounds what is read of one answer.
	maxAnswer = 64 << 20
	// maxRetryAfter bounds how long a provider may ask us to stay away.
	maxRetryAfter = time.Hour
)

// jsonAPI speaks JSON over HTTP with one account at a provider. It never repeats a request: a change that was made and
// whose answer was lost would look like one that was refused. The queue tries again, after it has read.
type jsonAPI struct {
	who     string // the provider, for people
	base    string // URL without a final slash
	header  http.Header
	secrets []string
	client  *http.Client
	now     func() time.Time
	// explain reads the error of an answer: its class, if the body says more than the status does, and its words.
	explain func(status int, body []byte) (Reason, string)
}

// httpClient follows no redirect: it would carry credentials to wherever the answer says.
func httpClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: transport, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// call makes one request and reads the answer into what into points to, if it is not nil.
func (a *jsonAPI) call(ctx context.Context, method, path string, query url.Values, body, into any) error {
	if err := turn(ctx); err != nil {
		return err
	}
	req, err := a.request(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return a.fail(Unreachable, err, "%s did not answer: %s", a.who, plain(err))
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return a.fail(Unreachable, err, "the answer of %s broke off", a.who)
	case len(data) > maxAnswer:
		return a.fail(Unknown, nil, "the answer of %s is longer than %d octets", a.who, maxAnswer)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return a.refusal(resp, data)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return a.fail(Unknown, err, "the answer of %s is not of its API: is the endpoint right?", a.who)
	}
	return nil
}

func (a *jsonAPI) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	target := a.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, a.fail(Invalid, err, "the request to %s cannot be written", a.who)
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, a.fail(Invalid, err, "%s is no URL", a.base)
	}
	req.Header = a.header.Clone()
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// refusal puts an answer that is none into words.
func (a *jsonAPI) refusal(resp *http.Response, data []byte) error {
	reason, said := a.explain(resp.StatusCode, data)
	if reason == "" {
		reason = reasonOf(resp.StatusCode)
	}
	if said == "" {
		said = http.StatusText(resp.StatusCode)
	}
	err := newError(reason, nil, fmt.Sprintf("%s answers %d: %s", a.who, resp.StatusCode, said), a.secrets...)
	err.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), a.now())
	return err
}

func reasonOf(status int) Reason {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return Unauthorized
	case status == http.StatusNotFound:
		return ZoneNotFound
	case status == http.StatusTooManyRequests:
		return Throttled
	case status >= http.StatusInternalServerError:
		return Unreachable
	case status < http.StatusBadRequest: // a redirect
		return Invalid
	}
	return Refused
}

// retryAfter reads the header of that name: seconds, or a date (RFC 9110 §10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

func (a *jsonAPI) fail(reason Reason, cause error, format string, args ...any) error {
	return newError(reason, cause, fmt.Sprintf(format, args...), a.secrets...)
}
