package process

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// blocks are the listings of a language in docs/ci.md.
func blocks(t *testing.T, language string) (all []string) {
	text, err := os.ReadFile("../../docs/ci.md")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)\n```\n").FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	require.NotEmpty(t, all)
	return all
}

// TestScriptOfTheCIPage types the script of docs/ci.md as it stands.
func TestScriptOfTheCIPage(t *testing.T) {
	cmd := exec.Command("sh", "-c", blocks(t, "sh")[0]+"\necho \"$AZURE_STORAGE_CONNECTION_STRING\"\n")
	cmd.Env = append(cleanEnv(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"), "TMPDIR="+t.TempDir())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), errs.String())
	require.Regexp(t, `^serving\nDefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=\S+==;`+
		`BlobEndpoint=http://127.0.0.1:\d+/devstoreaccount1;TableEndpoint=http://127.0.0.1:\d+/devstoreaccount1;\n$`, out.String())
}

// TestSettingsOfTheCIPage: the listings that no machine here can run are well-formed, and their settings of blobd are taken by it.
func TestSettingsOfTheCIPage(t *testing.T) {
	actions, gitlab := blocks(t, "yaml")[0], blocks(t, "yaml")[1]
	var workflow struct {
		Jobs map[string]struct {
			Services map[string]struct {
				Env   map[string]string
				Ports []string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(actions), &workflow))
	service := workflow.Jobs["test"].Services["blobd"]
	require.Len(t, service.Ports, 3)
	var jobs map[string]struct {
		Services []struct{ Command []string }
	}
	require.NoError(t, yaml.Unmarshal([]byte(gitlab), &jobs))
	var cmd []string
	for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(regexp.MustCompile(`Cmd: .*`).FindString(blocks(t, "go")[0]), -1) {
		cmd = append(cmd, m[1])
	}
	require.Equal(t, jobs["test"].Services[0].Command, cmd)

	var env []string
	for name, value := range service.Env {
		env = append(env, name+"="+value)
	}
	// As in the image: settings of its own in the environment, and addresses that are not loopback ones but for this machine's sake.
	image := []string{"BLOBD_DATA=" + filepath.Join(t.TempDir(), "data"), "BLOBD_BLOB_ADDR=127.0.0.1:0", "BLOBD_TABLE_ADDR=127.0.0.1:0", "BLOBD_MANAGEMENT_ADDR=127.0.0.1:0"}
	for _, c := range []struct{ env, args []string }{{env, nil}, {nil, cmd}} {
		p := launchIn(t, append(image, c.env...), c.args...)
		_, err := p.client(nil).UploadBuffer(t.Context(), "docs", "b", []byte("b"), nil)
		require.NoError(t, err)
		p.stop()
		require.Contains(t, p.stdout(), "in memory")
	}
	require.NoFileExists(t, strings.TrimPrefix(image[0], "BLOBD_DATA="))
}
