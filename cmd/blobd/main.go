// Command blobd serves Azure Blob and Table storage from local disks.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/blobd/blobd/internal/speedup"
)

// version is set by the linker for a release.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// cli is the command line.
type cli struct {
	Config  kong.ConfigFlag `help:"Read settings from a YAML file whose keys are the names of the flags. The command line and the environment win over it." placeholder:"FILE"`
	Serve   serveCommand    `cmd:"" default:"withargs" help:"Serve storage. This is what blobd does when no command is given."`
	Health  healthCommand   `cmd:"" help:"Ask a running server whether it is well: exit status 0 when it serves and takes writes."`
	Reset   resetCommand    `cmd:"" help:"Empty the emulator's account devstoreaccount1 of a running server, as between two tests; other accounts are left alone."`
	Scrub   scrubCommand    `cmd:"" help:"How far a running server has read itself to find damage; start or pause that."`
	Check   checkCommand    `cmd:"" help:"Hold a store, of a running server or with --offline, against itself: records, owners of content, indexes; with --deep all content. Exit status 0 when nothing is wrong."`
	Inspect inspectCommand  `cmd:"" help:"Show in words what a file of a store holds, or with --data the keys of one that no server has open: for whoever looks for what is wrong with it."`
	Disk    diskCommand     `cmd:"" help:"List the disks of a store, or replace one that is dead."`
	Backup  backupCommand   `cmd:"" help:"Back up the store of a running server, or with --offline one that no server has open: one moment of all of it, and only what the backup before has not."`
	Restore restoreCommand  `cmd:"" help:"Make a store from a backup, on as many disks as you like, and compare the two."`
	Export  exportCommand   `cmd:"" help:"Copy an account of a running server to plain files: blobs, snapshots and versions with their properties beside them, and tables."`
	Import  importCommands  `cmd:"" help:"Make blobs and tables in an account of a running server of what export has written, or of a folder of Azurite."`
	Version versionCommand  `cmd:"" help:"Print the version."`

	operatorCommands `embed:""`
}

const description = `Azure Blob and Table storage on your own disks.

Examples:

  blobd
      serve the emulator's account devstoreaccount1 on 127.0.0.1:10000 (blob) and :10002 (table), data in ./blobd-data

  blobd --data /disk1 --data /disk2 --data /disk3
      keep data on three disks, so that one may fail

  blobd --blob-addr 0.0.0.0:10000 --table-addr 0.0.0.0:10002 --account media:BASE64KEY --tls-self-signed
      serve an account of your own to the network over HTTPS

The flags are those of serve: "blobd serve --help" lists them. Each can be given as an environment variable BLOBD_FLAG_NAME
or in a file (--config).`

// exit codes
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	var c cli
	exited := false
	parser, err := commandLine(&c, stdout, stderr, kong.Exit(func(int) { exited = true }))
	if err != nil {
		fmt.Fprintln(stderr, "blobd:", err)
		return exitFailed
	}
	if file := os.Getenv("BLOBD_CONFIG"); file != "" { // the library reads files that the command line names only
		args = append([]string{"--config", file}, args...)
	}
	command, err := parser.Parse(args)
	if exited { // help was asked for
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "blobd:", err)
		fmt.Fprintln(stderr, "Run blobd serve --help to see the flags, blobd --help for examples and commands.")
		return exitUsage
	}
	command.BindTo(ctx, (*context.Context)(nil))
	command.BindTo(stdout, (*io.Writer)(nil))
	err = command.Run(&output{out: stdout, err: stderr})
	var usage usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, "blobd:", err)
		return exitUsage
	case err != nil:
		fmt.Fprintln(stderr, "blobd:", err)
		return exitFailed
	}
	return exitOK
}

func commandLine(c *cli, stdout, stderr io.Writer, more ...kong.Option) (*kong.Kong, error) {
	return kong.New(c, append([]kong.Option{
		kong.Name("blobd"), kong.Description(description), kong.UsageOnError(), kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110, NoExpandSubcommands: true}),
		kong.DefaultEnvars("BLOBD"), kong.Configuration(loadYAML), kong.Vars{"default_data": defaultData, "parts": partNames()},
	}, more...)...)
}

func partNames() string {
	var names []string
	for _, p := range speedup.All() {
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}

// output is where a command prints: answers and errors.
type output struct{ out, err io.Writer }

// usageError is a mistake in the settings.
type usageError struct{ error }

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(o *output) error {
	_, err := fmt.Fprintln(o.out, "blobd", versionText())
	return err
}

func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text, revision, dirty := version, "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if text == "" {
		text = "development"
	}
	if revision != "" {
		text += " (" + revision + dirty + ")"
	}
	return text + " " + info.GoVersion
}
