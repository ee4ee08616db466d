# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Signs a message a line by python3-dkim: {"message": base64, "a": …, "c": …, "l": bool} → {"message": base64}.
# Arguments: the RSA key as PEM, the Ed25519 seed in base64.
import base64, json, sys
import dkim

keys = {"rsa-sha256": ("rsa", sys.argv[1].encode()), "ed25519-sha256": ("ed", sys.argv[2].encode())}
for line in sys.stdin:
    case = json.loads(line)
    message = base64.b64decode(case["message"])
    selector, key = keys[case["a"]]
    forms = tuple(f.encode() for f in case["c"].split("/"))
    field = dkim.sign(message, selector.encode(), b"signer.example", key, canonicalize=forms, signature_algorithm=case["a"].encode(),
                      include_headers=[b"from", b"to", b"subject", b"x-odd"], length=case["l"])
    print(json.dumps({"message": base64.b64encode(field + message).decode()}), flush=True)
