// Package version reports the version of this module that a program was built from.
package version

import "runtime/debug"

// String returns the module's version, or the commit that the program was built from.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
