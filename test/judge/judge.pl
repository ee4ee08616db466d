# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Signs or judges a message a line by Mail::DKIM: {"message": base64, "c": …} → {"message": base64}, and
# {"message": base64} → a list of {"algorithm": …, "result": …, "detail": …}.
# Arguments: the RSA key's file, the port of the name server on 127.0.0.1.
use strict; use warnings;
use JSON::PP; use MIME::Base64; use Mail::DKIM::DNS; use Mail::DKIM::PrivateKey; use Mail::DKIM::Signer; use Mail::DKIM::Verifier; use Net::DNS::Resolver;

$| = 1;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => $ARGV[1]));
my $key = Mail::DKIM::PrivateKey->load(File => $ARGV[0]);
while (my $line = <STDIN>) {
    my $case = decode_json($line);
    my $message = decode_base64($case->{message});
    if ($case->{c}) {
        my $signer = Mail::DKIM::Signer->new(Algorithm => 'rsa-sha256', Method => $case->{c}, Domain => 'signer.example', Selector => 'rsa', Key => $key);
        $signer->PRINT($message);
        $signer->CLOSE;
        my $field = $signer->signature->as_string;
        $field =~ s/\r?\n/\r\n/g;
        print encode_json({ message => encode_base64("$field\r\n$message", '') }), "\n";
        next;
    }
    my $verifier = Mail::DKIM::Verifier->new();
    $verifier->PRINT($message);
    $verifier->CLOSE;
    print encode_json([ map { { algorithm => $_->algorithm, result => $_->result eq 'pass' ? 'pass' : 'fail', detail => $_->result_detail } } $verifier->signatures ]), "\n";
}
