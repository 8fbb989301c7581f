// Package model tries out the orders in which uploads, streams and collections may run
// and be suspended: see docs/FORMAT.md, Collection. It has only a test, which needs a
// separate process: values that were pooled under synthetic time must not be used
// outside of it.
package model
