//go:build !unix

package arena

func reserve(n int) []byte { return make([]byte, n) }
