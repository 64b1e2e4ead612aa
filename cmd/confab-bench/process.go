package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// clockTicks is what /proc counts CPU time in (proc_pid_stat(5)); it is 100 on
// all Linux of today.
const clockTicks = 100

// cpuSeconds is the CPU time that a process has used, in user and kernel. On
// kernels without CONFIG_IRQ_TIME_ACCOUNTING, most of them, that includes the
// softirqs which ran in its context: over loopback the whole way of a packet to the
// receiver's socket.
func cpuSeconds(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	ticks := 0
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return float64(ticks) / clockTicks, nil
}

// coreTimes are the seconds that a core spent on anything, and on softirqs of it,
// since boot (proc_stat(5)).
func coreTimes(cpu int) (busy, softirq float64, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 9 || f[0] != "cpu"+strconv.Itoa(cpu) {
			continue
		}
		for i, v := range f[1:9] {
			n, err := strconv.ParseFloat(v, 64)
			if err != nil {
				return 0, 0, err
			}
			if i != 3 && i != 4 { // idle, iowait
				busy += n / clockTicks
			}
			if i == 6 {
				softirq = n / clockTicks
			}
		}
		return busy, softirq, nil
	}
	return 0, 0, fmt.Errorf("/proc/stat has no cpu%d", cpu)
}

// residentMB is the memory of a process that is in RAM, in MB of 2^20 bytes.
func residentMB(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
			return float64(kb) / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
}
