// Package api is the HTTP interface for hosts and their scripts: one documented REST
// API, and the paths of the Prosody modules that scripts of today call.
//
// Rules of this package:
//   - Who asks is settled before what is asked is looked at: a stranger gets the same
//     answer for a room that exists, one that doesn't, and a path that is none.
//   - Browsers of other sites get nothing: no CORS headers, no changes from another
//     origin.
//   - Every error of the API is a problem (RFC 9457); the texts are for people who
//     may see everything, and never quote a secret.
//   - openapi.json describes what the API answers; a test walks it in both
//     directions. A route that is not in it does not exist.
//   - It knows neither XMPP nor rooms: Backend is what it needs, in plain data.
package api
