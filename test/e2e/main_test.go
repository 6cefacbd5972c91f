// Package e2e drives the real binary with real clients: the Go and JS SDKs and azcopy. The SDK suites also run against Azurite, as a
// check of the tests themselves wherever the two should agree.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// buildFlags are those of the binary under test.
var buildFlags []string

// root is the project's root folder, js the folder with the Node packages, and blobdBinary the blobd under test.
var root, js, blobdBinary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	_, file, _, _ := runtime.Caller(0)
	root = filepath.Join(filepath.Dir(file), "..", "..")
	js = filepath.Join(root, "test", "js")
	tmp, err := os.MkdirTemp("", "blobd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(tmp)
	blobdBinary = filepath.Join(tmp, "blobd")
	if err := command(root, "go", append(append([]string{"build"}, buildFlags...), "-o", blobdBinary, "./cmd/blobd")...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := installJS(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := prepareAzcopy(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	for _, s := range []*target{sharedBlobd.target, azurite.target} {
		if s != nil && s.stop != nil {
			s.stop()
		}
	}
	return code
}

// installJS installs the Node packages, and again whenever what is to be installed has changed.
func installJS() error {
	want, err := os.ReadFile(filepath.Join(js, "package-lock.json"))
	if err != nil {
		return err
	}
	mark := filepath.Join(js, "node_modules", "installed.json")
	if got, err := os.ReadFile(mark); err == nil && bytes.Equal(got, want) {
		return nil
	}
	if err := command(js, "npm", "ci", "--no-audit", "--no-fund"); err != nil {
		return fmt.Errorf("install the JS SDKs into test/js with npm, which make tools installs: %w", err)
	}
	return os.WriteFile(mark, want, 0o644)
}

func command(dir, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// prepareAzcopy makes the packaged binary run, which comes without its execute bit.
func prepareAzcopy() error {
	if err := os.Chmod(azcopyPath(), 0o755); err != nil {
		return err
	}
	if err := command(root, azcopyPath(), "--version"); err != nil {
		return fmt.Errorf("azcopy does not run; it needs libsecret-1.so.0, which make tools installs: %w", err)
	}
	return nil
}

func azcopyPath() string {
	return filepath.Join(js, "node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64")
}

// target is a running server with the well-known account.
type target struct {
	name       string
	blob       string // http://127.0.0.1:PORT/devstoreaccount1
	table      string
	management string
	issuer     string
	arm        string
	pid        int
	stop       func()
}

// isBlobd lets a test ask more of blobd than of Azurite, which differs from Azure there.
func (s *target) isBlobd() bool { return s.name == "blobd" }

// startBlobd runs the binary on free ports with the given data folders (a fresh one if none) and ends it with the test.
func startBlobd(t testing.TB, args ...string) *target {
	t.Helper()
	if !strings.Contains(strings.Join(args, " "), "--data") {
		args = append(args, "--data", t.TempDir())
	}
	s, err := launchBlobd(args...)
	require.NoError(t, err)
	t.Cleanup(s.stop)
	return s
}

// launchBlobd lets the system choose the ports: one chosen here could be taken by others before the server has it.
func launchBlobd(args ...string) (*target, error) {
	const anyPort = "127.0.0.1:0"
	s := &target{name: "blobd"}
	args = append([]string{"serve", "--blob-addr", anyPort, "--table-addr", anyPort, "--management-addr", anyPort, "--ready-file", "ready.json"}, args...)
	return s, s.start(exec.Command(blobdBinary, args...), func(dir string) bool {
		text, err := os.ReadFile(filepath.Join(dir, "ready.json"))
		var listens struct{ Blob, Table, Management, Issuer, Arm string }
		if err != nil || json.Unmarshal(text, &listens) != nil {
			return false
		}
		s.at(listens.Blob, listens.Table)
		s.management, s.issuer, s.arm = listens.Management, listens.Issuer, listens.Arm
		return true
	})
}

// azurite is one Azurite for all tests, started when first asked for.
var azurite struct {
	sync.Once
	*target
	err error
}

func startAzurite(t testing.TB) *target {
	t.Helper()
	azurite.Do(func() {
		s := &target{name: "azurite"}
		c := exec.Command("node", filepath.Join(js, "node_modules/azurite/dist/src/azurite.js"), "--silent", "--skipApiVersionCheck", "--disableTelemetry",
			"--location", "data", "--blobPort", "0", "--queuePort", "0", "--tablePort", "0")
		listens := regexp.MustCompile(`(?s)Blob service is successfully listening at (\S+)\n.*Table service is successfully listening at (\S+)\n`)
		azurite.err = s.start(c, func(dir string) bool {
			text, err := os.ReadFile(filepath.Join(dir, outputFile))
			found := listens.FindSubmatch(text)
			if err != nil || found == nil {
				return false
			}
			s.at(string(found[1]), string(found[2]))
			return true
		})
		azurite.target = s
	})
	require.NoError(t, azurite.err)
	return azurite.target
}

// at makes of a server's addresses those of the account.
func (s *target) at(blob, table string) {
	s.blob, s.table = blob+"/"+account.DevName, table+"/"+account.DevName
}

const outputFile = "output.log"

// start runs the server in a folder of its own, with what it prints in outputFile, and waits until told finds there where it listens.
func (s *target) start(c *exec.Cmd, told func(dir string) bool) error {
	dir, err := os.MkdirTemp(filepath.Dir(blobdBinary), "run-")
	if err != nil {
		return err
	}
	output, err := os.Create(filepath.Join(dir, outputFile))
	if err != nil {
		return err
	}
	defer output.Close()
	c.Dir, c.Stdout, c.Stderr = dir, output, output
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return err
	}
	s.pid = c.Process.Pid
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	s.stop = func() {
		c.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			c.Process.Kill()
			<-ended
		}
	}
	deadline := time.After(60 * time.Second)
	for !told(dir) {
		select {
		case <-ended:
			text, _ := os.ReadFile(output.Name())
			return fmt.Errorf("%s ended early:\n%s", s.name, text)
		case <-deadline:
			s.stop()
			return fmt.Errorf("%s does not tell where it listens", s.name)
		case <-time.After(5 * time.Millisecond): // poll
		}
	}
	return nil
}

// kill ends the server as a power cut would end the process.
func (s *target) kill() {
	syscall.Kill(s.pid, syscall.SIGKILL)
	s.stop()
}

// client is an SDK client that does not retry: a test wants the first answer.
func (s *target) client(t testing.TB) *azblob.Client {
	t.Helper()
	c, err := azblob.NewClientWithSharedKeyCredential(s.blob, credential(t), &azblob.ClientOptions{ClientOptions: noRetry})
	require.NoError(t, err)
	return c
}

func (s *target) service(t testing.TB) *service.Client { return s.client(t).ServiceClient() }

func credential(t testing.TB) *azblob.SharedKeyCredential {
	cred, err := azblob.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	return cred
}

var noRetry = azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}

// everywhere runs a test against blobd and against Azurite.
func everywhere(t *testing.T, f func(t *testing.T, s *target)) {
	t.Run("blobd", func(t *testing.T) { f(t, shared(t)) })
	t.Run("azurite", func(t *testing.T) { f(t, startAzurite(t)) })
}

var sharedBlobd struct {
	sync.Once
	*target
	err error
}

// shared is one blobd for the tests that do not mind company.
func shared(t testing.TB) *target {
	t.Helper()
	sharedBlobd.Do(func() {
		dir := filepath.Join(filepath.Dir(blobdBinary), "data")
		sharedBlobd.target, sharedBlobd.err = launchBlobd("--data", dir)
	})
	require.NoError(t, sharedBlobd.err)
	return sharedBlobd.target
}

// newContainer makes a container with a name of its own.
func newContainer(t testing.TB, s *target) string {
	t.Helper()
	name := fmt.Sprintf("c%d", time.Now().UnixNano())
	_, err := s.client(t).CreateContainer(context.Background(), name, nil)
	require.NoError(t, err)
	return name
}
