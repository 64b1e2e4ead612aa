package rtpx

import "time"

// epoch is the zero of the packet clock, fixed when the process starts.
var epoch = time.Now()

// Now is the monotonic packet clock: nanoseconds since the process started.
// Packet.Arrived, feedback timers and retransmission rules all use it.
func Now() int64 { return int64(time.Since(epoch)) }
