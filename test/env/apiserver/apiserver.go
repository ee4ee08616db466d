// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiserver starts a real API server with our kinds installed: etcd,
// kube-apiserver and, where garbage collection matters,
// kube-controller-manager, as processes on loopback that any user may run.
//
// A test package shares one:
//
//	var shared apiserver.Shared
//
//	func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		server := shared.Get(t)
package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Processes get this long to come up: other suites may keep the processors busy.
const startTimeout = 3 * time.Minute

// Options say what to start; the zero value is an API server with our CRDs.
type Options struct {
	// ControllerManager also starts kube-controller-manager with the garbage
	// collector and the namespace controller: a bare API server collects nothing.
	ControllerManager bool

	// CRDs is the folder of our CRDs; config/crd/bases of this module when empty.
	CRDs string

	// Log receives what the processes print; nothing is kept when nil.
	Log io.Writer
}

// Server is a running API server. Its Config is that of a cluster administrator.
type Server struct {
	Config     *rest.Config
	Kubeconfig []byte

	environment *envtest.Environment
	manager     *process
	programs    string // scripts that run the binaries; "" for none
	release     chan struct{}
}

// Start brings up the processes and installs the CRDs. It returns when objects
// of our kinds can be written. The error says which command installs what is
// missing. Stop must be called, also when ctx has ended.
func Start(ctx context.Context, options Options) (*Server, error) {
	assets, err := findAssets(options)
	if err != nil {
		return nil, err
	}
	crds := options.CRDs
	if crds == "" {
		root, err := moduleRoot()
		if err != nil {
			return nil, err
		}
		crds = filepath.Join(root, "config", "crd", "bases")
	}

	programs, err := guard(assets, "etcd", "kube-apiserver", "kube-controller-manager")
	if err != nil {
		return nil, err
	}
	environment := &envtest.Environment{
		BinaryAssetsDirectory:    assets,
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  startTimeout,
		ErrorIfCRDPathMissing:    true,
		CRDInstallOptions:        envtest.CRDInstallOptions{Paths: []string{crds}, MaxTime: startTimeout},
	}
	// Neither may an environment variable point the tests at somebody's cluster.
	environment.UseExistingCluster = new(bool)
	environment.ControlPlane.GetAPIServer().Path = filepath.Join(programs, "kube-apiserver")
	environment.ControlPlane.GetAPIServer().Out = options.Log
	environment.ControlPlane.GetAPIServer().Err = options.Log
	environment.ControlPlane.Etcd = newEtcd(options.Log)
	environment.ControlPlane.Etcd.Path = filepath.Join(programs, "etcd")

	server := &Server{environment: environment, release: make(chan struct{})}
	if programs != assets {
		server.programs = programs
	}
	err = steady(server.release, func() error {
		var err error
		if server.Config, err = environment.Start(); err != nil {
			return fmt.Errorf("start kube-apiserver from %s: %w", assets, err)
		}
		server.Kubeconfig = environment.KubeConfig
		if options.ControllerManager {
			server.manager, err = startControllerManager(ctx, programs, server.Kubeconfig, options.Log)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return server, nil
}

// Stop ends the processes and removes their data.
func (s *Server) Stop() error {
	var err error
	if s.manager != nil {
		err = s.manager.stop()
	}
	err = errors.Join(err, s.environment.Stop())
	close(s.release)
	if s.programs != "" {
		err = errors.Join(err, os.RemoveAll(s.programs))
	}
	return err
}
