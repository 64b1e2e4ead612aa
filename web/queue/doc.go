// Package queue is where visitors wait for a meeting to go live: the service that the
// stock web app looks for behind visitors.queueService (client-signaling.md §10.20).
// It speaks STOMP 1.2 over WebSocket, as far as that app does: one CONNECT, one
// SUBSCRIBE, messages to the client.
//
// Rules of this package:
//   - Whoever waits is a stranger: it learns that a meeting is live, and how many
//     others wait for one, and nothing that a conference request would not tell it.
//   - Nothing waits for a client: one that doesn't read is closed.
package queue
