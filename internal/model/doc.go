// Package model tries out in which orders uploads, streams, collections and their
// sleeps may come, see docs/FORMAT.md, Collection. It holds a test only, which needs a
// process of its own: what is pooled in a time that is made up must not be used
// outside of it.
package model
