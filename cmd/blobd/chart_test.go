package main

import (
	"encoding/json"
	"io"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// The chart gives flags that there are, and what it lets be set is what its schema knows.
func TestTheChartFits(t *testing.T) {
	read := func(name string) []byte {
		text, err := os.ReadFile("../../charts/blobd/" + name)
		require.NoError(t, err)
		return text
	}
	var c cli
	parser, err := commandLine(&c, io.Discard, io.Discard)
	require.NoError(t, err)
	flags := map[string]bool{}
	for _, command := range parser.Model.Children {
		if command.Name == "serve" {
			for _, flag := range command.Flags {
				flags[flag.Name] = true
			}
		}
	}
	given := regexp.MustCompile(`- --([a-z-]+)`).FindAllSubmatch(read("templates/statefulset.yaml"), -1)
	require.GreaterOrEqual(t, len(given), 8)
	for _, flag := range given {
		require.True(t, flags[string(flag[1])], "--%s", flag[1])
	}

	var values map[string]any
	require.NoError(t, yaml.Unmarshal(read("values.yaml"), &values))
	var schema struct{ Properties map[string]any }
	require.NoError(t, json.Unmarshal(read("values.schema.json"), &schema))
	for _, own := range []string{"global", "fullnameOverride"} { // which every chart has
		delete(schema.Properties, own)
	}
	for name := range values {
		require.Contains(t, schema.Properties, name)
	}
	require.Len(t, schema.Properties, len(values))
}
