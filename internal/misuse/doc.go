// Package misuse tests the library's entry points with arguments that nobody should pass to
// them.
package misuse
