// Package netns runs the tests of a package in a network of their own: the test program
// starts itself again in a network namespace, where addresses are as the tests want them.
package netns

import "errors"

// ErrNetwork says that the namespace is there, but not the network in it.
var ErrNetwork = errors.New("the network of the namespace can't be made")
