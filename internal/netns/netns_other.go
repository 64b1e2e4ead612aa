//go:build !linux

package netns

import "errors"

// Enter needs Linux.
func Enter(...string) error { return errors.ErrUnsupported }
