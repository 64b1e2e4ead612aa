package meettest

import "syscall"

// noOrphan has a server end with the tests, however these end.
var noOrphan = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
