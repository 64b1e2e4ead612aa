// Package files keeps what people share in a meeting: bytes below one directory,
// behind the HTTP interface that stock clients use (room-services.md §6.7).
//
// Rules of this package:
//   - Nothing that a client says becomes a path: files have numbers on disk, names
//     and ids are data.
//   - Uploads are written as they arrive; none is ever whole in memory, and one
//     that breaks off leaves nothing behind.
//   - Files end with their meeting. The index is in memory only: after a restart
//     no meeting is left, so Open empties the directory, and nothing is synced.
//   - What comes back is hostile and from our own origin: it is a download, in a
//     sandbox, of a harmless type, at an address that can't be guessed.
package files
