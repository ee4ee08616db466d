# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Judges the messages whose file names are on standard input, a line of JSON for each. Keys are asked for at the server that is the argument.
use strict;
use warnings;
use JSON::PP;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::Resolver;

Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => [$ARGV[0]]));
while (my $path = <STDIN>) {
    chomp $path;
    open my $file, '<:raw', $path or die "$path: $!";
    my $message = do { local $/; <$file> };
    my $verifier = Mail::DKIM::Verifier->new();
    $verifier->PRINT($message);
    $verifier->CLOSE;
    my @verdicts;
    for my $s ($verifier->signatures) {
        my ($result, $detail) = ($s->result, $s->result_detail);
        my $said = $result eq 'pass' ? 'pass' : $detail =~ /unsupported algorithm/ ? 'unable' : 'fail';
        push @verdicts, { selector => $s->selector, domain => $s->domain, algorithm => $s->algorithm, result => $said, detail => $detail };
    }
    print encode_json(\@verdicts), "\n";
}
