package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// loadYAML reads a configuration file: a flat map from flag names to values or lists of values.
func loadYAML(r io.Reader) (kong.Resolver, error) {
	var values map[string]any
	if err := yaml.NewDecoder(r).Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the configuration file is not a YAML map: %w", err)
	}
	return fileSettings(values), nil
}

// fileSettings gives flags their values from a file.
type fileSettings map[string]any

// Validate refuses keys that are no flags: a misspelt setting must not be passed over.
func (f fileSettings) Validate(app *kong.Application) error {
	known := map[string]bool{}
	var collect func(n *kong.Node)
	collect = func(n *kong.Node) {
		for _, flag := range n.Flags {
			known[flag.Name] = true
		}
		for _, child := range n.Children {
			collect(child)
		}
	}
	collect(app.Node)
	delete(known, "help")
	delete(known, "config")
	var unknown []string
	for key := range f {
		if !known[key] {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return fmt.Errorf("the configuration file has unknown settings: %s", strings.Join(unknown, ", "))
	}
	return nil
}

// Resolve returns the value of a flag. The environment goes before the file.
func (f fileSettings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	switch v := f[flag.Name].(type) {
	case nil:
		return nil, nil
	case bool:
		return v, nil
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = fmt.Sprint(e)
		}
		return list, nil
	case map[string]any:
		return nil, fmt.Errorf("the setting %s in the configuration file is a map; a value or a list is needed", flag.Name)
	default:
		return fmt.Sprint(v), nil
	}
}
