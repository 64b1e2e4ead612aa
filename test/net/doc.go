// Package net shows what a receiver gets of a meeting over a poor network.
//
// package link models a path, emulate carries packets over it between two network
// namespaces, sender plays a recorded camera, run.mjs puts a real browser behind
// it and measures, see README.md. The tests of this package are the cheap variant:
// the Go client behind the same model, without namespaces and browsers.
package net
