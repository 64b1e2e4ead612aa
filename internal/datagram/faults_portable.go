//go:build !linux || portable

package datagram

// Failed reports whether there are faults to be read: they are not known here.
func (s *Socket) Failed() bool { return false }

// FaultReader reads no faults here.
type FaultReader struct{}

// NewFaultReader makes one.
func NewFaultReader() *FaultReader { return &FaultReader{} }

// Next reads nothing.
func (*FaultReader) Next(*Socket) (f Fault, ok bool) { return f, false }
