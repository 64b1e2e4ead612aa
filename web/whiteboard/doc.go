// Package whiteboard relays what people draw: the part of an excalidraw server that
// stock clients use, over Socket.IO (room-services.md §6.10). What passes is
// encrypted by the clients; the relay sees sizes only and keeps nothing.
//
// Rules of this package:
//   - A socket gets in only where the metadata of a live meeting names a board, and
//     out when it no longer does. Boards are told by Name and Forget, which don't
//     wait.
//   - Both generations of clients are served: Engine.IO 3 with Socket.IO 2 and
//     Engine.IO 4 with Socket.IO 3 and 4, by polling and by WebSocket.
//   - One message is one value for all who get it; each socket encodes it for its
//     own transport. Queues are bounded: who does not read is cut off, cursors are
//     dropped before that.
//   - Locks are taken in the order relay, board, socket.
package whiteboard
