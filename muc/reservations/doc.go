// Package reservations asks a booking service whether a room may be opened
// (room-services.md §7.6), over the HTTP interface of jicofo's and Prosody's
// reservation systems.
//
// Rules of this package:
//   - It never waits on the goroutine of a room or a conference: who asks is called
//     back.
//   - Every question is answered, also when the booking service hangs.
//   - Whatever that answers is hostile input: bounded, checked, cleaned.
package reservations
