# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Judges every DKIM signature of the message on standard input. Keys are asked for at the server that is the argument.
use strict;
use warnings;
use JSON::PP;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::Resolver;

Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => [$ARGV[0]]));
my $verifier = Mail::DKIM::Verifier->new();
binmode STDIN;
local $/;
$verifier->PRINT(<STDIN>);
$verifier->CLOSE;
my @verdicts;
for my $s ($verifier->signatures) {
    my ($result, $detail) = ($s->result, $s->result_detail);
    # By its own words it knows no Ed25519: "invalid (unsupported algorithm ed25519-sha256)".
    my $said = $result eq 'pass' ? 'pass' : $detail =~ /unsupported algorithm/ ? 'unable' : 'fail';
    push @verdicts, { selector => $s->selector, domain => $s->domain, algorithm => $s->algorithm, result => $said, detail => $detail };
}
print encode_json(\@verdicts);
