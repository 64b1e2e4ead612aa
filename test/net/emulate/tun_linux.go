package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// openTUN makes a TUN device in a namespace of `ip netns`, gives it an address
// with a peer, and brings it up. Closing the file removes the device.
func openTUN(namespace, name, address, peer string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	made := make(chan result)
	go func() {
		// The thread that enters the namespace ends with this goroutine; it is never unlocked.
		runtime.LockOSThread()
		f, err := enterAndOpen(namespace, name)
		made <- result{f, err}
	}()
	r := <-made
	if r.err != nil {
		return nil, fmt.Errorf("TUN device in %s: %w", namespace, r.err)
	}
	for _, args := range [][]string{
		{"addr", "add", address, "peer", peer, "dev", name},
		{"link", "set", name, "mtu", "1500", "txqueuelen", "2000", "up"},
	} {
		if out, err := exec.Command("ip", append([]string{"-n", namespace}, args...)...).CombinedOutput(); err != nil {
			r.f.Close()
			return nil, fmt.Errorf("ip -n %s %v: %w: %s", namespace, args, err, out)
		}
	}
	return r.f, nil
}

func enterAndOpen(namespace, name string) (*os.File, error) {
	ns, err := unix.Open(filepath.Join("/run/netns", namespace), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(ns)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("setns: %w", err)
	}
	// Non-blocking, so that the file takes part in the runtime's polling and Close ends a Read.
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TUNSETIFF: %w", err)
	}
	return os.NewFile(uintptr(fd), "tun "+namespace), nil
}
