// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// etcd need not survive a power cut here; without fsync slow disks do not time out.
func newEtcd(log io.Writer) *envtest.Etcd {
	etcd := &envtest.Etcd{Out: log, Err: log}
	etcd.Configure().Set("unsafe-no-fsync", "true")
	return etcd
}

// findAssets returns the folder that holds the binaries: KUBEBUILDER_ASSETS,
// or the cache that `make apiserver` fills.
func findAssets(options Options) (string, error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		// As hack/lib.sh has it, on every system: os.UserCacheDir differs on some.
		cache := os.Getenv("XDG_CACHE_HOME")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("find the cache with the API server: %w", err)
			}
			cache = filepath.Join(home, ".cache")
		}
		assets = filepath.Join(cache, "maildomain-operator", "bin")
	}
	needed := []string{"etcd", "kube-apiserver"}
	if options.ControllerManager {
		needed = append(needed, "kube-controller-manager")
	}
	for _, name := range needed {
		if _, err := exec.LookPath(filepath.Join(assets, name)); err != nil {
			return "", fmt.Errorf("%s is not in %s: run make apiserver, or set KUBEBUILDER_ASSETS to where it is: %w", name, assets, err)
		}
	}
	return assets, nil
}

// Program returns the path of a binary that lies beside the API server's, else on the PATH. The error says which command
// brings it.
func (o Options) Program(name string) (string, error) {
	assets, err := findAssets(Options{})
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath(filepath.Join(assets, name)); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither in %s nor on the PATH: run hack/apiserver.sh %s: %w", name, assets, name, err)
	}
	return path, nil
}

// moduleRoot returns the folder of go.mod above the working directory: that of
// a test is its package's.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the CRDs: %w", err)
	}
	for folder := start; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			return "", fmt.Errorf("find the CRDs: no go.mod in or above %s: name their folder in Options.CRDs", start)
		}
	}
}

// process is a child of ours with its folder.
type process struct {
	command *exec.Cmd
	folder  string
	ended   chan struct{} // closed when the process has ended
}

// startControllerManager runs the controllers that deletion needs. They use
// the administrator's kubeconfig: the API server has no ServiceAccount
// admission here, and so no tokens for controllers.
func startControllerManager(ctx context.Context, assets string, kubeconfig []byte, log io.Writer) (*process, error) {
	folder, err := os.MkdirTemp("", "maildomain-controller-manager-")
	if err != nil {
		return nil, fmt.Errorf("start kube-controller-manager: %w", err)
	}
	config := filepath.Join(folder, "kubeconfig")
	if err := os.WriteFile(config, kubeconfig, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("start kube-controller-manager: %w", err), os.RemoveAll(folder))
	}
	command := exec.CommandContext(ctx, filepath.Join(assets, "kube-controller-manager"),
		"--kubeconfig", config, "--authentication-kubeconfig", config, "--authorization-kubeconfig", config,
		"--bind-address", "127.0.0.1", "--secure-port", "0", "--leader-elect=false",
		"--controllers", "garbage-collector-controller,namespace-controller")
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start kube-controller-manager: %w", err), os.RemoveAll(folder))
	}
	manager := &process{command: command, folder: folder, ended: make(chan struct{})}
	go func() {
		defer close(manager.ended)
		_ = command.Wait() // it is killed in the end: how it ended says nothing
	}()
	return manager, nil
}

// stop kills the process: it holds nothing that is worth a farewell.
func (p *process) stop() error {
	err := p.command.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-p.ended
	return errors.Join(err, os.RemoveAll(p.folder))
}
