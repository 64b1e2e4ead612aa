// Command confab is the whole server for Jitsi Meet clients: XMPP, rooms, focus,
// bridge, STUN and TURN, web front.
//
// Rules of this package:
//   - It is the only one that knows all others; they don't know each other.
//   - It is the only one that reads configuration, environment and flags.
//   - A command returns its error; run turns it into text and exit status.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"confab/cmd/confab/config"
)

// Exit statuses. 78 keeps systemd from restarting into the same mistake.
const (
	exitFailure = 1
	exitUsage   = 2
	exitConfig  = 78 // EX_CONFIG of sysexits.h
)

const usage = `confab: video meetings for Jitsi Meet clients

  confab [serve] [FLAGS]                     run the server
  confab user add NAME[@HOST] [--no-host]    make an account; the password comes on stdin, or is made and shown
  confab user passwd NAME[@HOST]             set a password
  confab user list                           show all accounts
  confab user remove NAME[@HOST]             remove an account
  confab service add jibri|jigasi            make the accounts of a recorder or gateway and print its configuration
  confab service passwd jibri|jigasi         the same with new passwords
  confab service remove jibri|jigasi         remove these accounts
  confab turn user add NAME [--key]          make a user of the relay beside meetings; the password as above
  confab turn user list                      show them
  confab turn user remove NAME               remove one
  confab secret rotate turn                  sign TURN credentials with another secret; the old one runs out
  confab import FILE [-o CONFAB.TOML]        print our configuration for a turnserver.conf of coturn
  confab check                               look for what keeps the server from working
  confab web install FILE|URL [--sha256 HEX] unpack a stock Jitsi Meet web build; a URL needs its checksum
  confab config default                      print all configuration keys with their defaults
  confab config show                         print the values that hold, with who set them; secrets are hidden
  confab version                             print the version

Flags:
`

func main() {
	spareProcessor()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	hup := make(chan os.Signal, 1)
	p := program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), configPath: config.SystemFile, hup: hup}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// program is one call of the command.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	configPath     string // read when no --config is given
	hup            chan os.Signal

	flags    []config.Override
	required bool // --config was given
}

// run executes one command and returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	command := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	err := p.command(ctx, command, args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if problems, ok := errors.AsType[config.Error](err); ok {
		for _, problem := range problems {
			fmt.Fprintln(p.stderr, "confab:", problem)
		}
		return exitConfig
	}
	if errors.Is(err, errSaid) {
		return exitFailure
	}
	fmt.Fprintln(p.stderr, "confab:", err)
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintln(p.stderr, "confab --help shows what there is.")
		return exitUsage
	}
	return exitFailure
}

// commands are those beside serve, the one that needs no name.
var commands = []string{"user", "service", "turn", "secret", "import", "check", "config", "web", "version", "help"}

func (p *program) command(ctx context.Context, name string, args []string) error {
	switch name {
	case "serve":
		return p.serve(ctx, args)
	case "user":
		return p.user(ctx, args)
	case "service":
		return p.service(ctx, args)
	case "turn":
		return p.turn(ctx, args)
	case "secret":
		return p.secret(args)
	case "check":
		return p.check(ctx, args)
	case "config":
		return p.config(args)
	case "import":
		return p.importFile(args)
	case "web":
		return p.web(ctx, args)
	case "version":
		fmt.Fprintln(p.stdout, version())
		return nil
	case "help":
		p.help(p.flagSet("serve"))
		return nil
	}
	return usageError("unknown command " + name)
}

func (p *program) serve(ctx context.Context, args []string) error {
	rest, err := p.parse(p.flagSet("serve"), args)
	if err != nil {
		return err
	}
	switch {
	case len(rest) == 0:
	case slices.Contains(commands, rest[0]):
		return usageError("flags stand behind the command: confab " + strings.Join(rest, " ") + " --…")
	default:
		return usageError("unknown command " + rest[0])
	}
	cfg, err := p.load()
	if err != nil {
		return err
	}
	if p.hup != nil {
		signal.Notify(p.hup, syscall.SIGHUP)
		defer signal.Stop(p.hup)
	}
	return serve(ctx, cfg, reloads{p.hup, p.load}, p.stdout, p.stderr)
}

// usageError is a mistake in the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

// errSaid ends the program with status 1; what went wrong has been said.
var errSaid = errors.New("failed")

// flagSet returns the flags that all commands share. Those that stand for a
// configuration key are collected in p.flags.
func (p *program) flagSet(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run reports errors
	fs.Func("config", "`FILE` with the configuration (default "+p.configPath+", if it is there)", func(path string) error {
		p.configPath, p.required = path, true
		return nil
	})
	for _, f := range []struct{ flag, key, help string }{
		{"data", "data_dir", "`DIR` for everything the program writes"},
		{"domain", "domain", "`NAME` under which the meetings are reached"},
		{"https", "web.listen", "`ADDR` for the web and WebSocket, such as :8443"},
		{"media-port", "bridge.udp_port", "UDP `PORT` for media"},
		{"turn-port", "turn.port", "UDP and TCP `PORT` for STUN and TURN"},
		{"xmpp-port", "xmpp.port", "TCP `PORT` for XMPP clients"},
	} {
		fs.Func(f.flag, f.help, func(value string) error {
			p.flags = append(p.flags, config.Override{Key: f.key, Flag: "--" + f.flag, Value: value})
			return nil
		})
	}
	return fs
}

// parse reads flags wherever they stand and returns the other arguments.
func (p *program) parse(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		err := fs.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			p.help(fs)
			return nil, err
		}
		if err != nil {
			return nil, usageError(err.Error())
		}
		done := len(args) - fs.NArg()
		if fs.NArg() == 0 || done > 0 && args[done-1] == "--" {
			return slices.Concat(rest, fs.Args()), nil
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
}

func (p *program) help(fs *flag.FlagSet) {
	io.WriteString(p.stdout, usage)
	fs.VisitAll(func(f *flag.Flag) {
		value, help := flag.UnquoteUsage(f)
		fmt.Fprintf(p.stdout, "  --%-18s %s\n", strings.TrimSpace(f.Name+" "+value), help)
	})
}

// load reads the configuration as the flags ask and tells the warnings.
func (p *program) load() (config.Config, error) {
	cfg, warnings, err := config.Load(config.Sources{Path: p.configPath, Require: p.required, Environ: p.environ, Flags: p.flags})
	for _, w := range warnings {
		fmt.Fprintln(p.stderr, "confab: warning:", w)
	}
	return cfg, err
}

// spareProcessor has the scheduler believe in two CPUs where there is one. With one, each
// wait of a socket loop has it take the loop's processor away, wake a thread for it that
// finds nothing to do, and go on looking every 20 µs: two fifths of the CPU time of a
// relay with 30,000 packets/s. GOMAXPROCS in the environment counts as ever.
func spareProcessor() {
	if runtime.GOMAXPROCS(0) == 1 && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2)
	}
}
