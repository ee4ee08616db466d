# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Judges every DKIM signature of a message by python3-dkim.
#
#   verify.py SERVER   the message on standard input; keys are asked for at the server
#   verify.py          a message a line, as {"message": base64, "texts": {name: TXT record}}: that is all the DNS there is
import base64, json, sys
import dkim, dns.resolver, nacl.signing


def judge(message, txt):
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
    return verdicts


def name_of(name):
    return name.decode() if isinstance(name, bytes) else name


def asking(server):
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [server]

    def txt(name, timeout=5):
        try:
            answer = resolver.resolve(name_of(name), "TXT", lifetime=timeout)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None
        return b"".join(next(iter(answer)).strings)

    return txt


def knowing(texts):
    def txt(name, timeout=5):
        text = texts.get(name_of(name).rstrip("."))
        return None if text is None else text.encode()

    return txt


if len(sys.argv) > 1:
    json.dump(judge(sys.stdin.buffer.read(), asking(sys.argv[1])), sys.stdout)
else:
    for line in sys.stdin:
        case = json.loads(line)
        print(json.dumps(judge(base64.b64decode(case["message"]), knowing(case["texts"]))), flush=True)
