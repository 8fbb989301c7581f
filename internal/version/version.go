// Package version tells which version of this module a program was built from.
package version

import "runtime/debug"

// String is that of the module, or the commit that the program was built from.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
