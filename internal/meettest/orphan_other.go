//go:build !linux

package meettest

import "syscall"

var noOrphan *syscall.SysProcAttr // only Linux can
