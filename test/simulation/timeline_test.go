// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the picture in docs/ anew")

func TestThePictureOfAYearIsCurrent(t *testing.T) {
	const path = "../../docs/rotation-year.svg"
	want, err := Draw()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the simulation draws (%v): go test ./test/simulation -run Picture -update", path, err)
	}
}
