// Package misuse tests the library's entry points with what nobody should pass to them.
package misuse
