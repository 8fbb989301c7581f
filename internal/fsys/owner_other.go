//go:build !linux && !darwin

package fsys

func kernel() string { return unknown() }

func space() string { return unknown() }

func started(int) (start string, dead bool) { return "", false }
