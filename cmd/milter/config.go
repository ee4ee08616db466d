// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// notInFile are the flags that a configuration file does not have.
var notInFile = []string{"config", "help", "version"}

// origins say where a flag's value comes from, where that is not the command line.
type origins map[string]string

// name is how messages name a flag: as it is given, or file, line and setting.
func (o origins) name(flag string) string {
	if where := o[flag]; where != "" {
		return where
	}
	return "--" + flag
}

// loadConfig sets flags from a YAML file: every flag by its long name without
// dashes. What the command line says comes first. It tells of every fault at once.
//
//	sign: [unix:/run/milter/sign.sock]
//	keys: [/keys]
//	policy: {unknown_domain: reject}
//	deadline: 5s
func loadConfig(path string, flags *pflag.FlagSet) (origins, error) {
	settings, err := readSettings(path)
	if err != nil {
		return nil, err
	}
	found := origins{}
	var errs []error
	for pair := range slices.Chunk(settings, 2) {
		where := fmt.Sprintf("%s:%d: %s", filepath.Base(path), pair[0].Line, pair[0].Value)
		if err := found.take(where, pair[0], pair[1], flags); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	return found, errors.Join(errs...)
}

// readSettings reads the names and values of a file, in turn.
func readSettings(path string) ([]*yaml.Node, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	file := filepath.Base(path)
	var doc, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF): // Empty, or nothing but comments.
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document: take out the lines that are ---", file)
	}
	settings := doc.Content[0]
	if settings.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want settings, one a line, such as keys: [/keys]", file, settings.Line)
	}
	return settings.Content, nil
}

// take sets the flag that a setting is, unless the command line has it.
func (o origins) take(where string, key, value *yaml.Node, flags *pflag.FlagSet) error {
	flag, err := settingOf(key, flags)
	switch {
	case err != nil:
		return err
	case o[flag.Name] != "":
		return fmt.Errorf("is set twice, first at %s", o[flag.Name])
	case flag.Changed:
		return nil
	}
	o[flag.Name] = where
	return set(flag, value)
}

// settingOf finds the flag that a setting is.
func settingOf(key *yaml.Node, flags *pflag.FlagSet) (*pflag.Flag, error) {
	flag := flags.Lookup(key.Value)
	if key.Kind == yaml.ScalarNode && flag != nil && !slices.Contains(notInFile, flag.Name) {
		return flag, nil
	}
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(notInFile, f.Name) {
			names = append(names, f.Name)
		}
	})
	slices.Sort(names)
	return nil, fmt.Errorf("no such setting; want one of %s", strings.Join(names, ", "))
}

// set gives a flag the value of a setting: a list to one that may be given
// several times, a mapping to one of name=value, and text to every other.
func set(flag *pflag.Flag, value *yaml.Node) error {
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	if list, takesList := flag.Value.(pflag.SliceValue); takesList {
		return setList(list, value)
	}
	if flag.Value.Type() == "stringToString" {
		return setMap(flag.Value, value)
	}
	if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
		return fmt.Errorf("want a value, such as %q", flag.DefValue)
	}
	if err := flag.Value.Set(value.Value); err != nil {
		return fmt.Errorf("%q is not a %s, such as %s", value.Value, flag.Value.Type(), flag.DefValue)
	}
	return nil
}

func setList(list pflag.SliceValue, value *yaml.Node) error {
	texts, err := scalars(value.Content)
	if value.Kind != yaml.SequenceNode || err != nil {
		return errors.New("want a list, such as [a, b]")
	}
	return list.Replace(texts)
}

func setMap(flag pflag.Value, value *yaml.Node) error {
	texts, err := scalars(value.Content)
	if value.Kind != yaml.MappingNode || err != nil {
		return errors.New("want names and values, such as {a: b, c: d}")
	}
	for pair := range slices.Chunk(texts, 2) {
		if err := flag.Set(pair[0] + "=" + pair[1]); err != nil {
			return err
		}
	}
	return nil
}

// scalars are the texts of nodes, none of which may be anything else.
func scalars(nodes []*yaml.Node) ([]string, error) {
	texts := make([]string, len(nodes))
	for i, n := range nodes {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			return nil, fmt.Errorf("line %d is no text", n.Line)
		}
		texts[i] = n.Value
	}
	return texts, nil
}
