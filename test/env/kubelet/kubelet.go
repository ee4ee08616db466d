// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubelet keeps a directory as kubelet keeps the mount of a Secret, for
// signers that run without a cluster's nodes: in tests and in the demo.
package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Names that kubelet's AtomicWriter uses: the link that swaps, and its successor before it is renamed.
const (
	dataLink = "..data"
	nextLink = "..data_tmp"
)

// Mirror brings a Secret into dir and follows its changes until ctx ends, looking every so often: kubelet itself
// takes up to 90 seconds. As with kubelet, the directory is empty until the Secret exists, and keeps its last files
// when the Secret is deleted or the API server is away. The error is about the directory or a right that is missing.
func Mirror(ctx context.Context, c client.Reader, namespace, name, dir string, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		switch data, err := read(ctx, c, namespace, name); {
		case err == nil:
			if err := Write(dir, data); err != nil {
				return fmt.Errorf("mount Secret %s/%s: %w", namespace, name, err)
			}
		case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
			return fmt.Errorf("mount Secret %s/%s: %w", namespace, name, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func read(ctx context.Context, c client.Reader, namespace, name string) (map[string][]byte, error) {
	var secret corev1.Secret
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret); err != nil {
		return nil, err
	}
	return secret.Data, nil
}

// Write makes dir hold exactly these files, all at once, as kubelet's AtomicWriter does: the files lie in a folder of
// their own, ..data links to that folder and is swapped by one rename, and each visible name links through ..data.
//
// Nothing changes if the files are there already. Only one Write may run for a directory.
func Write(dir string, data map[string][]byte) error {
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old != "" && holds(filepath.Join(dir, old), data) {
		return nil
	}
	folder, err := os.MkdirTemp(dir, "..version_")
	if err != nil {
		return err
	}
	for name, content := range data {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			return err
		}
	}
	if err := swap(dir, filepath.Base(folder)); err != nil {
		return err
	}
	if err := expose(dir, data); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}

// holds says whether folder has these files and no other.
func holds(folder string, data map[string][]byte) bool {
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != len(data) {
		return false
	}
	return !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		want, wanted := data[e.Name()]
		have, err := os.ReadFile(filepath.Join(folder, e.Name()))
		return !wanted || err != nil || !bytes.Equal(have, want)
	})
}

// swap makes ..data link to folder, by one rename.
func swap(dir, folder string) error {
	if err := os.Remove(filepath.Join(dir, nextLink)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(folder, filepath.Join(dir, nextLink)); err != nil {
		return err
	}
	return os.Rename(filepath.Join(dir, nextLink), filepath.Join(dir, dataLink))
}

// expose makes the visible names: one link for each file, and none for what is gone.
func expose(dir string, data map[string][]byte) error {
	for name := range data {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, wanted := data[e.Name()]; wanted || strings.HasPrefix(e.Name(), "..") {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
