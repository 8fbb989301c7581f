//go:build !linux

package sealedcheckpoints

import "os"

// isBeingWritten is not known here: that a file has not changed for a while has to do.
func isBeingWritten(*os.File) bool { return false }
