package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// inside marks the program that was started again.
const inside = "CONFAB_TEST_NETNS"

// Enter starts the program again in a namespace and does not return if that was possible:
// it ends as that one ends. In the namespace it runs "ip" with each of the lines and
// returns nil. The error says why there is no namespace to be had; it is ErrNetwork if
// there was one, and "ip" has failed.
func Enter(lines ...string) error {
	if os.Getenv(inside) != "" {
		return plumb(lines)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 { // root of a namespace of users may do so as well
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit) && exit.ExitCode() == unusable:
		return ErrNetwork
	case exit != nil:
		os.Exit(max(exit.ExitCode(), 1)) // -1: by a signal
	}
	return fmt.Errorf("a network namespace: %w", err)
}

// unusable is the status of the inner program if its network can't be made.
const unusable = 77

func plumb(lines []string) error {
	for _, line := range lines {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip %s: %v: %s\n", line, err, out)
			os.Exit(unusable)
		}
	}
	return nil
}
