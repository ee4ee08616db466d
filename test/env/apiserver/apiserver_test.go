// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/maildomain-operator/maildomain-operator/test/env/apiserver"
)

var shared = apiserver.Shared{Options: apiserver.Options{ControllerManager: true}}

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	if os.Getenv(victim) != "" {
		os.Exit(beVictim())
	}
	os.Exit(shared.Main(m))
}

func TestMissingBinariesAreSaidWithTheCommandThatBuildsThem(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	_, err := apiserver.Start(t.Context(), apiserver.Options{})
	if err == nil || !strings.Contains(err.Error(), "run make apiserver") {
		t.Errorf("started, or says not what to do: %v", err)
	}
}

type refused string

func TestATestWithoutBinariesFails(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	defer func() {
		if said, ok := recover().(refused); !ok || !strings.Contains(string(said), "run make apiserver") {
			t.Errorf("the test went on, or failed with %v", said)
		}
	}()
	new(apiserver.Shared).Get(fakeTest{})
}

type fakeTest struct{}

func (fakeTest) Helper()                           {}
func (fakeTest) Fatalf(format string, args ...any) { panic(refused(fmt.Sprintf(format, args...))) }

func TestADependentIsCollectedAfterItsOwner(t *testing.T) {
	clients, err := kubernetes.NewForConfig(shared.Get(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	secrets := clients.CoreV1().Secrets("default")
	owner, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dependent := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name:            "dependent",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Secret", Name: owner.Name, UID: owner.UID}},
	}}
	if _, err := secrets.Create(t.Context(), dependent, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := secrets.Delete(t.Context(), owner.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := secrets.Get(ctx, dependent.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	if err != nil {
		t.Error("the dependent is still there: the garbage collector does not run")
	}
}
