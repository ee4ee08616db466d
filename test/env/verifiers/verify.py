# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Judges every DKIM signature of the message on standard input. Keys are asked for at the server that is the argument.
import json, sys
import dkim, dns.resolver, nacl.signing

resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [sys.argv[1]]


def txt(name, timeout=5):
    if isinstance(name, bytes):
        name = name.decode()
    try:
        answer = resolver.resolve(name, "TXT", lifetime=timeout)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return None
    return b"".join(next(iter(answer)).strings)


message = sys.stdin.buffer.read()
fields = [f for f in dkim.rfc822_parse(message)[0] if f[0].lower() == b"dkim-signature"]
verdicts = []
for i, field in enumerate(fields):
    tags = dkim.util.parse_tag_value(field[1])
    verdict = {"selector": tags[b"s"].decode(), "domain": tags[b"d"].decode(), "algorithm": tags[b"a"].decode(), "detail": ""}
    try:
        verdict["result"] = "pass" if dkim.DKIM(message).verify(i, dnsfunc=txt) else "fail"
    except dkim.DKIMException as e:
        verdict["result"], verdict["detail"] = "fail", "%s: %s" % (type(e).__name__, e)
    verdicts.append(verdict)
json.dump(verdicts, sys.stdout)
